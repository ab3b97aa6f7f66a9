"""What a running node says: one line of text on itself in the graph editor, and in the log."""

import logging
import sys
import time

from comfy_execution.utils import get_executing_context

log = logging.getLogger("persona")


def tell(text: str) -> None:
    """Show a line on the node that runs now. Outside a running server nobody is there to read it."""
    context, module = get_executing_context(), sys.modules.get("server")
    server = getattr(module.PromptServer, "instance", None) if module else None
    if server is not None and context is not None:
        server.send_progress_text(text, context.node_id)


def warn(text: str) -> None:
    """Say on the node and in the log what will probably surprise the artist."""
    log.warning(text)
    tell(text)


class Clock:
    """Estimates the time left from the steps done since it was made."""

    def __init__(self, total: int, done: int = 0):
        self.total, self.first, self.start = total, done, time.monotonic()

    def left(self, done: int) -> str:
        """As "1:05 left"; an empty string before the first step."""
        if done <= self.first:
            return ""
        seconds = (time.monotonic() - self.start) / (done - self.first) * (self.total - done)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"
