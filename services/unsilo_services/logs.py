"""Structured logs on standard error: one JSON object a line, or plain text for people. Never a secret, never a body."""

import json
import logging
import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from .errors import UnsiloError
from .settings import HubSettings

_SHORTEST_SECRET = 6  # characters: what is shorter stands in any text
_secrets: set[str] = set()


def keep_out_of_logs(secret: str) -> None:
    """No line of a log will show this text any more."""
    if len(secret) >= _SHORTEST_SECRET:
        _secrets.add(secret)


def _masked(line: str) -> str:
    for secret in sorted(_secrets, key=len, reverse=True):  # one may be the beginning of another
        line = line.replace(secret, "***")
    return line


class _Lines(logging.Formatter):
    """Plain text, where an exception is its kind and the places it came through."""

    def format(self, record: logging.LogRecord) -> str:
        return _masked(super().format(record))

    def formatException(self, ei: Any) -> str:
        return " ".join([_kind(ei), *_places(ei)])


class _JsonLines(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": _masked(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = _kind(record.exc_info)
            line["trace"] = _places(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logs(settings: HubSettings, service: str) -> None:
    """Sets the process's logging up. Call once, at its start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings, service))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    sys.excepthook = _log_end
    for noisy in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a process ends with: a line like all others, for the operator where the error has something to say."""
    if isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    elif isinstance(error, UnsiloError):
        logging.getLogger(__name__).critical("ends: %s", " | ".join(filter(None, (error.operator, error.developer))))
    else:
        logging.getLogger(__name__).critical("ends by a fault of the hub's own", exc_info=(kind, error, trace))


def formatter(settings: HubSettings, service: str) -> logging.Formatter:
    """Makes a line of a record, in the format that the settings ask for."""
    if settings.log_format == "json":
        return _JsonLines(service)
    return _Lines(f"%(asctime)s {service} %(levelname)-7s %(message)s")


def _kind(exception: Any) -> str:
    return exception[0].__name__ if exception[0] else "unknown"


def _places(exception: Any) -> list[str]:
    """Where an exception came from, without its message: that may hold what a sender wrote."""
    step = exception[2]
    places = []
    while step is not None:
        places.append(f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}")
        step = step.tb_next
    return places
