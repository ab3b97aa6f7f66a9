"""Learn a persona of each row of a table, or of each picture in a folder."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from . import FAILED, FINE, USAGE
from .plan import Plan, add_model_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", help="a .csv, .jsonl or .parquet, or a folder of photos; also a URL, as s3://...")
    parser.add_argument("--out", required=True, help="the folder of personas; those that are there are left alone")
    parser.add_argument("--results", type=Path, help="what became of each, as CSV; else results.csv in the folder")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting, where a row says nothing else",
    )
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="people learned in one pass")
    parser.add_argument("--score", action="store_true", help="paint each and tell how like they are")
    parser.add_argument("--prompts", dest="score_prompts", metavar="FILE", help="for --score, a picture each")
    add_model_arguments(parser)
    parser.add_argument("--clip-vision", default="", help="an image encoder that looks at the photos, too")
    talk = parser.add_mutually_exclusive_group()
    talk.add_argument("--quiet", action="store_true", help="say only what fails")
    talk.add_argument("--verbose", action="store_true", help="also ComfyUI's log")


def run(given: argparse.Namespace) -> int:
    from ..host.start import NoComfyUI, start

    plan = Plan.of(given)
    try:
        check(plan, given.results, given.score_prompts)
        start(plan.comfyui, plan.comfyui_options)  # before rows, which import torch
        from .prompts import read_prompts
        from .rows import read

        rows = read(given.table, settings_in(given.set))
        if given.score_prompts:
            plan = replace(plan, scored_with=tuple(read_prompts(given.score_prompts)))
    except (NoComfyUI, ValueError) as error:
        return wrong(error)
    from ..faces import NoRecogniser
    from ..host.checkpoints import NoSuchModel
    from .learning import DiskFull
    from .progress import Progress
    from .results import Results
    from .stopping import Stopped, stopping

    progress = Progress(len(rows), quiet=given.quiet)
    try:
        results = Results(given.results or Path(plan.out).expanduser() / "results.csv")
        learner = plan.learner()
        with stopping() as check_stop:
            for result in learner.learn(rows, progress.step, check_stop):
                results.add(result)
                progress.done(result)
                check_stop()
        results.settle()
    except (NoSuchModel, NoRecogniser) as error:
        return wrong(error)
    except Stopped as stopped:
        print(f"\n{stopped} Run it again to go on.", file=sys.stderr)
        return stopped.code
    except DiskFull as error:
        print(error, file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"The run stops, because results cannot be written: {error}. Run it again to go on.", file=sys.stderr)
        return FAILED
    progress.end()
    return FAILED if progress.failed else FINE


def wrong(error: Exception) -> int:
    print(f"persona learn: {error}", file=sys.stderr)
    return USAGE


def check(plan: Plan, results: Path | None, score_prompts: str | None) -> None:
    """Raise ValueError for what does not go together."""
    plan.check_models()
    if "://" in plan.out and results is None:
        raise ValueError(
            "With --out at a URL, say with --results which file on this machine tells what became of each."
        )
    if score_prompts and not plan.score:
        raise ValueError("--prompts is for --score.")
    if plan.at_once < 1:
        raise ValueError("--at-once is at least 1.")


def settings_in(said: list[str]) -> dict[str, str]:
    """NAME=VALUE to a dictionary. Raises ValueError."""
    if wrong_ones := [one for one in said if "=" not in one]:
        raise ValueError(f"--set {wrong_ones[0]} is no NAME=VALUE, as --set preset=quick is.")
    pairs = (one.split("=", 1) for one in said)
    return {name.strip(): value.strip() for name, value in pairs}
