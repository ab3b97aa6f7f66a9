"""Show how personas were learned."""

import argparse
import json
import sys

from . import FAILED, FINE, USAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="personas, or folders of them")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with the file's name")


def run(given: argparse.Namespace) -> int:
    """Needs no ComfyUI. A file that is no persona is said, and the others are shown."""
    from ..described import described, facts
    from ..files import PersonaFileError
    from ..letters import one_line
    from ..persona import Persona
    from .persona_files import files_in

    try:
        files = files_in(given.files)
    except ValueError as error:
        print(f"persona info: {error}", file=sys.stderr)
        return USAGE
    code = FINE
    for index, file in enumerate(files):
        try:
            persona = Persona.load(file)
        except (PersonaFileError, OSError) as error:
            print(one_line(error), file=sys.stderr)
            code = FAILED
            continue
        if given.json:
            print(json.dumps({"file": str(file), **facts(persona)}, default=str))
        else:
            title = [f"{one_line(file)}:"] if len(files) > 1 else []
            print("\n" * (index > 0) + "\n".join([*title, described(persona)]))
    return code
