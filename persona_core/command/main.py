"""`persona`: its subcommands. Each is a module with `add_arguments` and `run`, which imports what is heavy itself."""

import argparse
import io
import logging
import os
import sys

from . import USAGE, info, learn, paint, score

INTERRUPTED, UNREAD = 130, 141  # as of SIGINT and SIGPIPE
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
        code = SUBCOMMANDS[given.command].run(given)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except ModuleNotFoundError as error:
        if __name__.startswith(f"{(error.name or '').partition('.')[0]}."):
            raise  # one of the pack's own
        print(f"persona: {sys.executable} lacks {error.name}. Use the Python that runs ComfyUI.", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # whoever reads it has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's own flush at its end would fail
        return UNREAD


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and behind "--" those for ComfyUI."""
    if "--" not in arguments:
        return arguments, []
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]
