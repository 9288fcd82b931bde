"""How long a connection's system wants to be left alone."""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

MOST = timedelta(minutes=15)
"""However long it asks for: a day of silence by one wrong header is worse than a call too many."""


class Quiet:
    """The pause of a connection as it is configured. It ends early when the connection becomes another one."""

    def __init__(self) -> None:
        self._until = 0.0
        self._over = asyncio.Event()

    @property
    def left(self) -> float:
        """Seconds; not more than zero when calls may be made."""
        return self._until - time.monotonic()

    def ask(self, pause: timedelta) -> None:
        """Lengthens the pause, if it would end sooner."""
        self._until = max(self._until, time.monotonic() + min(pause, MOST).total_seconds())

    async def rest(self, seconds: float) -> None:
        """Waits so long, or until the pause is called off."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    def call_off(self) -> None:
        """Wakes all who rest. What is still asked for, was asked of a connection that is no more."""
        self._over.set()
