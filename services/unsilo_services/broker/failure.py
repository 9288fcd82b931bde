"""Why the local Kafka does not run, in words that say what to do about it."""

import re
import shutil
import signal
from pathlib import Path

from ..errors import UnsiloError

CAUSES = (
    (r"No space left on device|Disk quota exceeded", "the disk is full: free some space and start it again"),
    (r"Address already in use", "another program took its port: stop that program, or give another port"),
    (r"Failed to acquire lock on file", "another Kafka has this data open: stop it, or name another folder"),
    (r"OutOfMemoryError: Java heap space", "its heap is too small for what it holds: give it a larger one"),
    (
        r"Could not reserve enough space|insufficient memory for the Java|Cannot allocate memory|create native thread",
        "the system gave it no memory: stop something else that runs here, or give it a smaller heap",
    ),
)
FULL_BYTES = 1 << 20
"""With less than this free, the disk is called full: the line that would say so no longer fitted into the log."""
TAIL_BYTES = 1 << 16


class BrokerUnavailable(UnsiloError):
    """The local Kafka cannot be started, or has died. The command ends; nothing it held is lost."""


def explain(code: int | None, log: Path, folder: Path) -> BrokerUnavailable:
    """The error for a broker that ended with `code` (None: it runs, and does not answer) and left this log."""
    lines = _tail(log)
    cause = _known(code, lines, folder) or _last_complaint(lines)
    state = "does not answer" if code is None else "has stopped"
    return BrokerUnavailable(
        f"the local Kafka in {folder} {state}: {cause}. What it has stored is kept. Its log: {log}",
        "\n".join([f"exit code {code}", *lines[-20:]]),
    )


def _known(code: int | None, lines: list[str], folder: Path) -> str | None:
    if code is not None and (number := -code if code < 0 else code - 128) in set(signal.Signals):
        return f"something ended it with {signal.Signals(number).name}; it may have been the system, short of memory"
    for pattern, cause in CAUSES:
        if any(re.search(pattern, line) for line in lines):
            return cause
    full = folder.exists() and shutil.disk_usage(folder).free < FULL_BYTES
    return CAUSES[0][1] if full else None


def _last_complaint(lines: list[str]) -> str:
    complaints = [line for line in lines if re.search(r"\b(ERROR|FATAL)\b|Exception|Error", line)]
    return f"it said “{[*lines, *complaints][-1].strip()}”" if lines else "it said nothing"


def _tail(log: Path) -> list[str]:
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
