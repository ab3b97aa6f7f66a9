"""Show how personas were learned."""

import argparse
import json
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="personas, as personas/ann.safetensors")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with the file's name")


def run(given: argparse.Namespace) -> int:
    """Needs no ComfyUI. A file that is no persona is said, and the others are shown."""
    from ..described import described, facts
    from ..files import PersonaFileError
    from ..persona import Persona

    code, several = 0, len(given.files) > 1
    for index, file in enumerate(given.files):
        try:
            persona = Persona.load(Path(file))
        except (PersonaFileError, OSError) as error:
            print(error, file=sys.stderr)
            code = 1
            continue
        if given.json:
            print(json.dumps({"file": file, **facts(persona)}, default=str))
        else:
            title = f"{file}:\n" if several else ""
            print("\n" * (index > 0) + title + described(persona))
    return code
