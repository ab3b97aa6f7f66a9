"""`persona`: its subcommands. Each is a module with `add_arguments` and `run`, which imports what is heavy itself."""

import argparse
import io
import logging
import sys

from . import info, learn, paint, score

INTERRUPTED = 130
SUBCOMMANDS = {"learn": learn, "paint": paint, "score": score, "info": info}


def main(arguments: list[str] | None = None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names are of all languages, consoles are not
    parser = argparse.ArgumentParser(prog="persona", description="Learn people from photos and use them in any prompt.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in SUBCOMMANDS.items():
        said = (module.__doc__ or "").splitlines()[0]
        module.add_arguments(commands.add_parser(name, help=said, description=said))
    own, options = split(sys.argv[1:] if arguments is None else arguments)
    given = parser.parse_args(own)
    given.comfyui_options = options
    logging.basicConfig(format="%(message)s", level=logging.INFO if vars(given).get("verbose") else logging.WARNING)
    try:
        return SUBCOMMANDS[given.command].run(given)
    except KeyboardInterrupt:
        return INTERRUPTED


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and behind "--" those for ComfyUI."""
    if "--" not in arguments:
        return arguments, []
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]
