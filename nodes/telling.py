"""What a running node says: one line of text on itself in the graph, and in the log."""

import logging
import time

from server import PromptServer

log = logging.getLogger("persona")


def tell(node_id: str | None, text: str) -> None:
    """Show a line on the node in the graph editor. Without a running server nobody is there to read it."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


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
