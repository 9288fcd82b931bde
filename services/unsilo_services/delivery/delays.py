"""Which commands of a connection wait, and why: told to the log, and to `audit`."""

import logging
import math
import queue
import time
from datetime import UTC, datetime
from typing import NamedTuple

log = logging.getLogger(__name__)

_TOLD_AGAIN_SECONDS = 600.0  # cli/audit_trail.py looks back so far, and a pause more


class Delay(NamedTuple):
    """Why commands for a connection wait, as seen at a moment; None: none waits any more."""

    connection: str
    why: str | None
    at: datetime


class Delays:
    """One connection's commands that were postponed. Tells each reason once, however many attempts it spoils."""

    def __init__(self, connection: str, told: "queue.SimpleQueue[Delay]") -> None:
        self._connection = connection
        self._waiting: set[str] = set()
        self._told_at: dict[str, float] = {}
        self._told = told

    def postponed(self, command: str, why: str) -> None:
        """A command has to wait. `why` holds no content."""
        self._waiting.add(command)
        now = time.monotonic()
        if now - self._told_at.get(why, -math.inf) >= _TOLD_AGAIN_SECONDS:
            self._told_at[why] = now
            log.warning("commands for %s wait: %s", self._connection, why)
            self._told.put(Delay(self._connection, why, datetime.now(UTC)))

    def inherited(self, command: str) -> None:
        """A command was held when a worker ended, which may have told that it waits."""
        self._waiting.add(command)

    def ended(self, command: str, done: bool) -> None:
        """A command waits no longer, if it did. The connection works again when it was the last one, and was done."""
        if command not in self._waiting:
            return
        self._waiting.discard(command)
        if not self._waiting:
            self._told_at.clear()
            self._told.put(Delay(self._connection, None, datetime.now(UTC)))
            if done:
                log.info("commands for %s go on", self._connection)

    def start_afresh(self) -> None:
        """Tells the reasons once more: the connection is another one."""
        self._told_at.clear()
