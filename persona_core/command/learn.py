"""Learn a persona of each row of a table, or of each picture in a folder."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from . import FAILED, FINE, USAGE
from .plan import Plan, add_model_arguments, add_talk_arguments


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
    parser.add_argument(
        "--allow-failures", action="store_true", help="end with 0 also where rows failed: the results tell which"
    )
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="people learned in one pass")
    parser.add_argument("--score", action="store_true", help="paint each and tell how like they are")
    parser.add_argument("--prompts", dest="score_prompts", metavar="FILE", help="for --score, a picture each")
    many = parser.add_argument_group("many machines", "pip install 'ray[data]'; see docs/operators.md")
    many.add_argument(
        "--ray", nargs="?", const="local", metavar="ADDRESS", help="of a Ray cluster, as auto; without: on this machine"
    )
    many.add_argument("--workers", type=workers_in, metavar="N", help="or from so many to so many, as 1:64")
    many.add_argument("--gpus-per-worker", type=float, metavar="X", help="or a share, as 0.25")
    many.add_argument("--cpus-per-worker", type=int, metavar="N", help="cores and threads of each")
    add_model_arguments(parser)
    parser.add_argument("--clip-vision", default="", help="an image encoder that looks at the photos, too")
    add_talk_arguments(parser)


def run(given: argparse.Namespace) -> int:
    from ..host.start import NoComfyUI, start

    plan = Plan.of(given)
    try:
        check(plan, given.results, given.score_prompts)
        # Before rows, which import torch. Of a cluster, the machine that gives out the work may have no GPU.
        start(plan.comfyui, ["--cpu"] if given.ray else plan.comfyui_options)
        from .prompts import read_prompts
        from .results import OtherTable, Result, Results, check_ours
        from .rows import left_out, read
        from .storage import path_of

        results_at = given.results or path_of(plan.out) / "results.csv"
        check_ours(results_at)
        rows = read(given.table, settings_in(given.set))
        if given.score_prompts:
            plan = replace(plan, scored_with=tuple(read_prompts(given.score_prompts)))
    except (NoComfyUI, ValueError) as error:
        return wrong(error)
    from ..faces import NoRecogniser
    from ..host.checkpoints import NoSuchModel
    from .outcomes import DiskFull
    from .progress import Progress
    from .stopping import Stopped, stopping
    from .with_ray import ClusterError, learn_with_ray

    if left := left_out(given.table):
        print(left, file=sys.stderr)
    progress = Progress(len(rows), quiet=given.quiet)

    def on_result(result: Result) -> None:
        results.add(result)
        progress.done(result)

    try:
        with stopping() as check_stop:
            learner = None if given.ray else plan.learner()  # before a file is written, for what is asked wrongly
            results = Results(results_at)
            if learner is None:
                pool = given.workers, given.gpus_per_worker, given.cpus_per_worker
                for result in learn_with_ray(plan, rows, given.ray, *pool):
                    on_result(result)
                    check_stop()
            else:
                learner.learn(rows, progress.step, check_stop, on_result)
        results.settle()
    except (NoSuchModel, NoRecogniser, OtherTable) as error:
        return wrong(error)
    except Stopped as stopped:
        print(f"\n{stopped} Run it again to go on.", file=sys.stderr)
        return stopped.code
    except (DiskFull, ClusterError) as error:
        print(error, file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"The run stops, because results cannot be written: {error}. Run it again to go on.", file=sys.stderr)
        return FAILED
    progress.end()
    return FAILED if progress.failed and not given.allow_failures else FINE


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
    if "://" not in plan.out and os.path.isfile(os.path.expanduser(plan.out)):
        raise ValueError(f"--out is the file {plan.out}. Name a folder for the personas.")
    if score_prompts and not plan.score:
        raise ValueError("--prompts is for --score.")
    if plan.at_once < 1:
        raise ValueError("--at-once is at least 1.")


def workers_in(said: str) -> tuple[int, int]:
    """At least and at most, as "8" or "1:64"."""
    least, _, most = said.partition(":")
    try:
        found = int(least), int(most or least)
    except ValueError:
        found = 0, 0
    if not 1 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError(f"{said} is no number of workers, as 8 or 1:64 is.")
    return found


def settings_in(said: list[str]) -> dict[str, str]:
    """NAME=VALUE to a dictionary. Raises ValueError."""
    if wrong_ones := [one for one in said if "=" not in one]:
        raise ValueError(f"--set {wrong_ones[0]} is no NAME=VALUE, as --set preset=quick is.")
    pairs = (one.split("=", 1) for one in said)
    return {name.strip(): value.strip() for name, value in pairs}
