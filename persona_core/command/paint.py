"""Paint prompts with each of many personas: their pictures, and a contact sheet a person."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import FAILED, FINE, USAGE
from .plan import Plan, add_model_arguments, add_talk_arguments

if TYPE_CHECKING:
    from .painting import Asked, Models

SAMPLING = {"steps": int, "cfg": float, "sampler": str, "scheduler": str, "width": int, "height": int}
SLIDERS = "strength", "start_at", "end_at", "key_locking", "context_preservation"
STAGES = "early", "late"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="personas, or folders of them")
    parser.add_argument("--prompts", required=True, help="a file, a prompt a line, with <ann> or {} for whoever it is")
    parser.add_argument("--out", required=True, help="the folder of pictures; those that are there are left alone")
    parser.add_argument("--count", type=int, default=2, metavar="N", help="pictures a prompt; 2, if it is not said")
    parser.add_argument("--seed", type=int, default=1, help="of the first picture; 1, if it is not said")
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="pictures in one batch, 4 at most")
    parser.add_argument("--watermark", action="store_true", help="mark them as generated in their pixels, too")
    sampling = parser.add_argument_group("sampling", "as KSampler's; else as in the templates")
    for name, kind in SAMPLING.items():
        sampling.add_argument(f"--{name}", type=kind)
    sampling.add_argument("--negative", metavar="PROMPT")
    sliders = parser.add_argument_group("persona", "as the inputs of Apply Stage-Regulated Embedding")
    for name in SLIDERS:
        sliders.add_argument(f"--{name.replace('_', '-')}", type=float)
    for name in STAGES:
        sliders.add_argument(f"--{name}-stage", dest=name, choices=("supercategory", "persona"))
    add_model_arguments(parser)
    add_talk_arguments(parser)


def run(given: argparse.Namespace) -> int:
    from ..host.start import NoComfyUI, start

    plan = Plan.of(given)
    try:
        check(plan, given)
        start(plan.comfyui, plan.comfyui_options)
        from .painting import Painter
        from .persona_files import files_in
        from .prompts import read_prompts

        check_marks(given.watermark)
        files, prompts = files_in(given.files), read_prompts(given.prompts)
        from .learning import models_of
        from .outcomes import DiskFull

        models = models_of(plan)
        painter = Painter(models, asked(given, plan, models, prompts), Path(plan.out).expanduser().absolute())
    except (NoComfyUI, ValueError) as error:
        print(f"persona paint: {error}", file=sys.stderr)
        return USAGE
    from .painting import PAINTED
    from .progress import Progress
    from .stopping import Stopped, stopping

    progress = Progress(len(files), given.quiet, PAINTED)
    try:
        with stopping() as check_stop:
            for painted in painter.paint(files, progress.at, check_stop):
                progress.done(painted)
                check_stop()
    except Stopped as stopped:
        print(f"\n{stopped} Run it again to go on.", file=sys.stderr)
        return stopped.code
    except DiskFull as error:
        print(error, file=sys.stderr)
        return FAILED
    progress.end()
    return FAILED if progress.failed else FINE


def check(plan: Plan, given: argparse.Namespace) -> None:
    """Raise ValueError for what does not go together."""
    plan.check_models()
    if "://" in plan.out:
        raise ValueError("--out is a folder on this machine.")
    out = Path(plan.out).expanduser().absolute()
    there = next(place for place in (out, *out.parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f"--out is a folder, but {there} is a file.")
    for name in ("count", "at_once"):
        if getattr(given, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} is at least 1.")
    if not 0 <= given.seed <= 2**64 - given.count:
        raise ValueError(f"--seed is from 0 to {2**64 - given.count}, the last of --count pictures being below 2**64.")


def check_marks(watermarked: bool) -> None:
    """Raise ValueError with a sentence, before anything is painted, where pictures cannot be marked as is asked."""
    from .. import content_credentials, watermark

    content_credentials.check_set_up()
    if watermarked:
        watermark.needed()


def asked(given: argparse.Namespace, plan: Plan, models: "Models", prompts: list[str]) -> "Asked":
    """Raises ValueError with a sentence."""
    from dataclasses import replace

    from ..host.apply.pictures import usual_sampling
    from ..table import check_sliders
    from .painting import Asked

    said = {name: value for name, value in vars(given).items() if value is not None}
    chosen, sliders, stages = (
        {name: said[name] for name in names if name in said} for names in ((*SAMPLING, "negative"), SLIDERS, STAGES)
    )
    sampling = replace(usual_sampling(models.model), **chosen)
    sampling.check()
    check_sliders(sliders)
    seeds = range(given.seed, given.seed + given.count)
    name = Path(plan.checkpoint or plan.diffusion_model).name
    return Asked(prompts, seeds, sampling, sliders | stages, given.at_once, given.watermark, name)
