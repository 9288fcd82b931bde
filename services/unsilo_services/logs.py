"""Structured logs on standard error: one JSON object a line, or plain text for people. Never a secret, never a body."""

import json
import logging
import sys
from datetime import UTC, datetime

from .settings import HubSettings


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            kind = record.exc_info[0]
            line["exception"] = kind.__name__ if kind else "unknown"
            line["trace"] = _places(record)
        return json.dumps(line, ensure_ascii=False)


def configure_logs(settings: HubSettings, service: str) -> None:
    """Sets the process's logging up. Call once, at its start."""
    handler = logging.StreamHandler(sys.stderr)
    text = f"%(asctime)s {service} %(levelname)-7s %(message)s"
    handler.setFormatter(_JsonLines() if settings.log_format == "json" else logging.Formatter(text))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _places(record: logging.LogRecord) -> list[str]:
    """Where an exception came from, without its message: that may hold what a sender wrote."""
    step = record.exc_info[2] if record.exc_info else None
    places = []
    while step is not None:
        places.append(f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}")
        step = step.tb_next
    return places
