"""Tell how like painted pictures are to photos of whom they should show."""

import argparse
import sys
from pathlib import Path

from . import FAILED, FINE, USAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", nargs="+", help="pictures; for a table, the folder of persona paint")
    parser.add_argument(
        "--reference",
        nargs="+",
        required=True,
        metavar="PHOTO",
        help="photos of one person; or one table or folder of photos, as for persona learn",
    )
    parser.add_argument("--out", type=Path, help="all figures, a line a picture, as CSV")
    parser.add_argument("--text", default="", help="the prompt; else what persona paint has written into each picture")
    parser.add_argument("--threshold", type=float, help="the prompt figure from which on a picture shows its prompt")
    models = parser.add_argument_group("for the prompt figure", "the two halves of one CLIP")
    models.add_argument("--clip", default="")
    models.add_argument("--clip-vision", default="")
    parser.add_argument("--comfyui", default="", help="its folder; else COMFYUI_PATH, or where the pack is installed")
    parser.add_argument("--cpu", action="store_true", help="compute on the CPU")


def run(given: argparse.Namespace) -> int:
    from ..faces import NoRecogniser
    from ..host.start import NoComfyUI, start

    try:
        if bool(given.clip) != bool(given.clip_vision) or (given.text and not given.clip):
            raise ValueError("The prompt figure needs both --clip and --clip-vision.")
        start(given.comfyui, [*(["--cpu"] if given.cpu else []), *given.comfyui_options])
        from .scoring import Judge, people_in

        people = people_in(given.reference, given.pictures)
        judge = Judge(given.clip, given.clip_vision, given.text, given.threshold)
    except (NoComfyUI, NoRecogniser, ValueError) as error:
        print(f"persona score: {error}", file=sys.stderr)
        return USAGE
    from .scoring import as_csv, summary, table_of

    judged = [judge.judge(one) for one in people]
    alone = len(judged) == 1 and judged[0].scored is not None
    for one in judged:
        for sentence in one.errors:
            print(f"{one.person.id}  {sentence}" if one.person.id else sentence, file=sys.stderr)
    try:
        if given.out:
            as_csv(judged, given.out)
    except OSError as error:
        print(f"persona score: {given.out} cannot be written: {error.strerror or error}.", file=sys.stderr)
        return FAILED
    if any(one.scored for one in judged):
        print(table_of(judged[0]) if alone else summary(judged))
    return FAILED if any(one.errors for one in judged) else FINE
