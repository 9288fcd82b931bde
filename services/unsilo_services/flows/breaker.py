"""Stops a loop that nothing else recognises: too many writes to one object in too short a time."""

from collections import OrderedDict, deque

MOST_WRITES = 60
WINDOW_SECONDS = 60.0
_OBJECTS = 10_000


class Breaker:
    """Counts in memory, by connection and object. A restart forgets: the worst is another window's worth.

    Time is that of the events, so that what was held up and comes all at once is no loop.
    """

    def __init__(self) -> None:
        self._writes: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def allows(self, object_id: str, connection: str, at: float) -> bool:
        """Counts a write, if it is allowed."""
        key = (object_id, connection)
        times = self._writes.setdefault(key, deque())
        self._writes.move_to_end(key)
        while times and abs(at - times[0]) > WINDOW_SECONDS:  # a clock may have been set back
            times.popleft()
        if len(self._writes) > _OBJECTS:
            self._writes.popitem(last=False)
        if len(times) >= MOST_WRITES:
            return False
        times.append(at)
        return True

    def reset(self) -> None:
        """Forgets all: what was counted did not happen."""
        self._writes.clear()
