"""Log lines that say which object they are about, as text or as JSON."""

import json
import logging
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

current_object: ContextVar[str] = ContextVar("current_object", default="")
"""The key that the running task works on; every line it logs carries it."""

_ATTEMPT: Final = re.compile(r"Request attempt #([0-9]+)")


def configure_logging(*, as_json: bool) -> None:
    """Log to standard error from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter() if as_json else PlainFormatter())
    handler.addFilter(is_news)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Kopf reports each event that it hands over, and what it ends of in many places:
    # that is reported once, where the process ends of it.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor").setLevel(logging.CRITICAL)


def is_news(record: logging.LogRecord) -> bool:
    """Tell whether a line is worth logging: of Kopf's retries one in 60 is.

    It repeats a failed request every second, for each of its watches.
    """
    attempt = _ATTEMPT.match(record.getMessage())
    return attempt is None or int(attempt[1]) % 60 == 1


class PlainFormatter(logging.Formatter):
    """One line a message: time, level, logger, object, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows it."""
        about = current_object.get()
        record.about = f"[{about}] " if about else ""
        return super().format(record)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(about)s%(message)s")


class JSONFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as text."""
        moment = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "object": current_object.get(),
            "message": record.getMessage(),
            "exception": self.formatException(record.exc_info)
            if record.exc_info
            else "",
        }
        return json.dumps({name: value for name, value in fields.items() if value})
