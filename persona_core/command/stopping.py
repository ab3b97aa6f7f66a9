"""Ctrl-C, and being asked to end, between two steps: a step is never torn, and how far learning is, is kept."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = signal.SIGINT, signal.SIGTERM


class Stopped(BaseException):
    """Not an Exception, which would be one row's. code: of the process."""

    def __init__(self, signum: int):
        super().__init__("Stopped." if signum == signal.SIGINT else "Stopped, as was asked.")
        self.code = 128 + signum


@contextmanager
def stopping() -> Iterator[Callable[[], None]]:
    """Gives what raises Stopped once a signal came. A second signal stops at once, wherever it is."""
    came: list[int] = []

    def on_signal(signum: int, frame: object) -> None:
        if came:
            raise Stopped(signum)
        came.append(signum)

    def check() -> None:
        if came:
            raise Stopped(came[0])

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = {one: signal.signal(one, on_signal) for one in SIGNALS}
    try:
        yield check
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
