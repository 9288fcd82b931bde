"""Where an object's copy in a connection is, if it has one, is being given one, or should have had one."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ..dead_letters import DeadLetter
from .known import Known

PATIENCE_SECONDS = 900.0
"""How long an event waits for the copy that it is about, while that is being made."""

CROWDED_PATIENCE_SECONDS = 10.0
"""The same where so many wait already that they would hold up others."""

_ON_ITS_WAY_SECONDS = 60.0  # from our commit to the table, which takes milliseconds


class CopyAwaited(Exception):
    """The copy is being made: the event waits."""


class Copies:
    """Finds copies, and remembers what was commanded a moment ago and is not in the table yet."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._issued: OrderedDict[tuple[str, str], float] = OrderedDict()

    def find(self, object_id: str, connection: str, since: float, crowded: bool) -> Mapping[str, Any] | None:
        """The reference of an object's copy; None where nobody wanted one.

        `since` is when it was first asked for, on the monotonic clock. Raises CopyAwaited where the copy is being made,
        DeadLetter where it was not made, or not in time.
        """
        current = False
        while True:
            found = self._known.links.twin(object_id, connection)
            if found is not None:
                return found
            state = self._known.commands.copying(object_id, connection)
            if state == "under_way" or (state is None and (object_id, connection) in self._issued):
                break
            if current and state is None:
                return None
            if current:
                why = f"what this is about was not written to {connection}: put that letter of delivery back first"
                raise DeadLetter("delivery_rejected", why, "copy")
            if not self._known.is_current(connection, since):
                raise CopyAwaited
            current = True  # now there can be no link that is not in the table: look once more
        if time.monotonic() - since < (CROWDED_PATIENCE_SECONDS if crowded else PATIENCE_SECONDS):
            raise CopyAwaited
        why = f"what this is about is not written to {connection} yet: put this back once that answers again"
        raise DeadLetter("delivery_timeout", why, "copy")

    def issued(self, object_id: str, connection: str) -> None:
        """A command was given that makes a copy."""
        now = time.monotonic()
        self._issued[object_id, connection] = now
        self._issued.move_to_end((object_id, connection))
        while now - next(iter(self._issued.values())) > _ON_ITS_WAY_SECONDS:
            self._issued.popitem(last=False)

    def forget(self) -> None:
        """What was commanded a moment ago was not: its transaction was given up."""
        self._issued.clear()
