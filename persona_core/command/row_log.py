"""Whose photo a line of the log is about."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from ..host.messages import log
from .results import printable
from .rows import Row


def about_the_row(method: Callable[[Any, Row], Any]) -> Callable[[Any, Row], Any]:
    """A method whose warnings begin with the row's id."""

    @wraps(method)
    def with_name(self, row: Row):
        def name(record: logging.LogRecord) -> bool:
            record.msg, record.args = printable(f"{row.id}: {record.getMessage()}"), ()
            return True

        log.addFilter(name)
        try:
            return method(self, row)
        finally:
            log.removeFilter(name)

    return with_name
