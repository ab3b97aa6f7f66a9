"""What a running node says in the graph editor and in the log.

Progress is a line of status text, which newer editors take away when the job ends. What must be read is a notice, which
the pack's web extension shows until somebody has.
"""

import html
import logging
import re
import sys
import time

from comfy_execution.utils import get_executing_context

log = logging.getLogger("persona")

SAID = {"by": None, "texts": set()}  # by the node that runs now
# Events of a warning and of progress in a subgraph; web/js/notices.js listens to them.
NOTICE, PROGRESS = "persona.notice", "persona.progress"


def tell(text: str) -> None:
    """Show how far it is on the node that runs now."""
    server, context = running()
    if server is None or server.client_id is None:
        return
    if ":" in context.node_id:  # in a subgraph, where editors look for status text's node in the graph that is open
        send(PROGRESS, text, server, context)
    else:
        server.send_progress_text(as_status_text(text), context.node_id, server.client_id)


def watched() -> bool:
    """Whether the editor that queued what runs is open."""
    server, _ = running()
    return server is not None and server.client_id in server.sockets


def warn(text: str) -> None:
    """Say in the log, and in the editor until it is read, what will probably surprise the artist.

    Once for a node that runs: some sample a picture tile by tile.
    """
    server, context = running()
    if context is not None:
        if context != SAID["by"]:
            SAID.update(by=context, texts=set())
        if text in SAID["texts"]:
            return
        SAID["texts"].add(text)
    log.warning(text)
    if server is not None and server.client_id is not None:
        send(NOTICE, text, server, context)


def send(event: str, text: str, server, context) -> None:
    """To the editor that queued what runs: without its id, every open editor would get it."""
    about = {"node": context.node_id, "prompt_id": context.prompt_id, "severity": "warn", "text": text}
    server.send_sync(event, about, server.client_id)


def running() -> tuple:
    """The server and what it executes now, or two times None."""
    context, module = get_executing_context(), server_module()
    server = getattr(module.PromptServer, "instance", None) if module else None
    return (server, context) if server is not None and context is not None else (None, None)


def server_module():
    return sys.modules.get("server")


def as_status_text(text: str) -> str:
    """The editor shows status text as HTML, and what stands in [[double brackets|address]] as a link."""
    return re.sub(r"\[(?=\[)", "[ ", html.escape(text, quote=False))


class Clock:
    """Estimates the time left from the steps done since it was made."""

    def __init__(self, done: int = 0):
        self.first, self.start = done, time.monotonic()

    def left(self, done: int, total: int) -> str:
        """As "1:05 left"; an empty string before the first step."""
        if done <= self.first:
            return ""
        seconds = (time.monotonic() - self.start) / (done - self.first) * max(total - done, 0)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"
