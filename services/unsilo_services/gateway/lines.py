"""How many network connections may be open: in all, as files allow it, and from one address.

They are called lines here, since a connection is a vendor's. Each is a file of the process, and whoever has taken them
all has shut everybody else out.
"""

import logging
import resource
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Protocol

from ..metrics import REQUESTS
from .answers import TURNED_AWAY, UNKNOWN
from .limits import network

log = logging.getLogger(__name__)

_OTHER_FILES = 256  # Kafka's brokers, certificates, logs, and what was taken in and is not counted yet
_MOST = 16_384  # each may fill 64 KiB with a head: 1 GiB
_LOOKS = 16  # so many lines are asked whether they can make way, or a crowd would cost everybody time
_QUIET_SECONDS = 60.0


class Line(Protocol):
    """One network connection."""

    def waits_for_us(self) -> bool:
        """Whether a request came in full, and its answer is still to come."""

    def hang_up(self) -> None:
        """Closes it, and waits for nobody."""


class Lines:
    """The lines that are open. Lives in the event loop's thread.

    Addresses that are `exempt` are proxies of ours, behind which is everybody: for them only the limit of all holds.
    """

    def __init__(self, most: int, most_of_one: int, exempt: Callable[[str], bool] = lambda address: False) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._exempt = exempt
        self._open: OrderedDict[Line, str | None] = OrderedDict()  # the longest open first, but for those passed over
        self._of_one: Counter[str] = Counter()
        self._turned_away = 0
        self._quiet_until = 0.0

    def admit(self, line: Line, address: str, at: float) -> bool:
        """Whether a new line may stay; `at` is the event loop's time. Another may have to make way for it."""
        one = None if self._exempt(address) else network(address)
        if one is not None and self._of_one[one] >= self._most_of_one:
            self._turn_away(
                f"{address} has {self._most_of_one} open, as many as one address may (a proxy of yours belongs in "
                "UNSILO_GATEWAY_TRUSTED_PROXIES)", at,
            )  # fmt: skip
            return False
        if len(self._open) >= self._most:
            self._turn_away(f"{self._most} are open, as many as this process may have", at)
            if not self._made_room():
                return False
        self._open[line] = one
        if one is not None:
            self._of_one[one] += 1
        return True

    def forget(self, line: Line) -> None:
        """A line is closed, or was never admitted."""
        one = self._open.pop(line, None)
        if one is None:
            return
        self._of_one[one] -= 1
        if not self._of_one[one]:
            del self._of_one[one]

    def _made_room(self) -> bool:
        """Closes the line that has been open longest of those that wait for nothing, as far as one is soon found."""
        for _ in range(min(_LOOKS, len(self._open))):
            line = next(iter(self._open))
            if not line.waits_for_us():
                self.forget(line)
                line.hang_up()
                return True
            self._open.move_to_end(line)
        return False

    def _turn_away(self, why: str, at: float) -> None:
        """Counts a line that is closed, and says so, but not for each."""
        REQUESTS.labels(UNKNOWN, TURNED_AWAY).inc()
        self._turned_away += 1
        if at < self._quiet_until:
            return
        log.warning("network connections closed at once: %d; the last because %s", self._turned_away, why)
        self._turned_away = 0
        self._quiet_until = at + _QUIET_SECONDS


def most_files() -> int:
    """How many files this process may have open, once that is as many as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # where the hard one is "unlimited", which the system does not grant
        return soft
    return hard


def most_lines(files: int) -> int:
    """How many lines may be open where so many files may be."""
    if files == resource.RLIM_INFINITY:
        return _MOST
    return min(_MOST, max(files - _OTHER_FILES, files // 2))
