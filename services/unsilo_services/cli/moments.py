"""Moments as people write them: so long ago, or a date and time."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from .output import fail

_SPAN = re.compile(r"^(\d{1,6})([smhd])$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_EARLIEST = datetime.fromtimestamp(0, UTC)
_HOW = "write 30s, 10m, 2h or 1d for so long ago, or a time such as 2026-03-02T09:14:07Z"

Since = Annotated[str | None, typer.Option(help="From then on: so long ago (30s, 10m, 2h, 1d), or a time.")]
Until = Annotated[str | None, typer.Option(help="Up to then: so long ago, or a time.")]


def moment(text: str) -> datetime:
    """A moment in UTC, 1970 at the earliest: Kafka knows no time before, and takes it for another word.

    A time without its zone is one of this machine's; what is neither ends the command.
    """
    span = _SPAN.match(text)
    try:
        if span is not None:
            found = datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
        else:
            found = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise fail(f"{text!r} is no moment: {_HOW}") from None
    return max(found, _EARLIEST)


def lasting(seconds: float) -> str:
    """A span of time in its largest unit."""
    if seconds >= 86_400:
        return "1 day" if seconds < 1.5 * 86_400 else f"{seconds / 86_400:.0f} days"
    for length, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds * 1000:.0f} ms"
