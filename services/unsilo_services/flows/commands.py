"""Which commands are under way: those on the `command` topics that neither a link nor a dead letter has settled yet.

The topics are read independently of each other, so a link may be met before its command. Each command is therefore
counted: up for each time that it was given, down for each time that it was settled.
"""

import json
import time
from collections import defaultdict
from dataclasses import astuple, dataclass, replace
from heapq import heappop, heappush
from typing import Literal

from unsilo_schemas.topics import owner_of

from ..kafka import Message, header_of
from .table import Changes, Table

_FORGOTTEN_MS = 25 * 3_600_000  # longer than delivery tries: what is still open then will never be settled
_FEW = 1000

_ENTRY = b"c:"

Copying = Literal["under_way", "failed"]


class Commands:
    """The commands in the table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._open: dict[str, dict[str, int]] = defaultdict(dict)  # by connection: id and time
        self._by_age: dict[str, list[tuple[int, str]]] = defaultdict(list)  # a heap of the same, and of some settled
        self._oldest: dict[str, int] = {}  # what another thread asks for
        for key in table.keys(_ENTRY):
            if not key.startswith(_ENTRY):
                break
            self._note(key.removeprefix(_ENTRY).decode(), self._entry(key.removeprefix(_ENTRY).decode()))

    def take(self, message: Message, changes: Changes) -> None:
        """Enters a command."""
        id = _id(message)
        connection = owner_of(str(message.topic()))
        found = self._entry(id)
        at = int(message.timestamp()[1]) if found is None or found.count < 1 else found.at
        data = json.loads(message.value() or b"null")
        if data.get("target") is None and not (found is not None and found.linked):
            key = _copy_key(data["mirrors"]["id"], connection)
            ids = json.loads(changes.get(key) or b"[]")
            if id not in ids:
                changes.put(key, json.dumps([*ids, id]).encode())
        self._enter(id, _Entry((0 if found is None else found.count) + 1, at, connection), changes)

    def buried(self, message: Message, changes: Changes) -> None:
        """A command became a dead letter: it is settled, and what it should have copied has no copy."""
        self._settle(_id(message), changes, linked=False)

    def linked(self, id: str, object_id: str, connection: str, changes: Changes) -> None:
        """A command was carried out."""
        self._settle(id, changes, linked=True)
        key = _copy_key(object_id, connection)
        ids = [known for known in json.loads(changes.get(key) or b"[]") if known != id]
        if ids:
            changes.put(key, json.dumps(ids).encode())
        else:
            changes.delete(key)

    def issued_at(self, id: str) -> int | None:
        """When a command was given, while it is under way."""
        found = self._entry(id)
        return None if found is None or found.count < 1 else found.at

    def copying(self, object_id: str, connection: str) -> Copying | None:
        """What became of making an object's copy in a connection, while it has none."""
        ids = json.loads(self._table.get(_copy_key(object_id, connection)) or b"[]")
        if any(self.issued_at(id) is not None for id in ids):
            return "under_way"
        return "failed" if ids else None

    def under_way(self, connection: str, before_ms: int) -> bool:
        """Whether a command to a connection is under way that was there before a moment."""
        oldest = self._oldest.get(connection)
        return oldest is not None and oldest < before_ms

    def _settle(self, id: str, changes: Changes, linked: bool) -> None:
        found = self._entry(id) or _Entry(0, 0, "")
        self._enter(id, replace(found, count=found.count - 1, linked=found.linked or linked), changes)

    def _enter(self, id: str, entry: "_Entry", changes: Changes) -> None:
        if entry.count == 0:
            changes.delete(_ENTRY + id.encode())
        else:
            changes.put(_ENTRY + id.encode(), json.dumps(astuple(entry)).encode())
        self._note(id, entry)

    def _note(self, id: str, entry: "_Entry | None") -> None:
        if entry is None or not entry.connection:
            return
        known, by_age = self._open[entry.connection], self._by_age[entry.connection]
        if entry.count < 1:
            known.pop(id, None)
        elif known.get(id) != entry.at:
            known[id] = entry.at
            heappush(by_age, (entry.at, id))
        if len(by_age) > 2 * len(known) + _FEW:  # the oldest may be stuck for a day, while all others are settled
            by_age[:] = sorted((at, each) for each, at in known.items())
        forgotten = time.time() * 1000 - _FORGOTTEN_MS
        while by_age and (known.get(by_age[0][1]) != by_age[0][0] or by_age[0][0] < forgotten):
            at, gone = heappop(by_age)
            if known.get(gone) == at:
                del known[gone]
        if by_age:
            self._oldest[entry.connection] = by_age[0][0]
        else:
            self._oldest.pop(entry.connection, None)

    def _entry(self, id: str) -> "_Entry | None":
        found = self._table.get(_ENTRY + id.encode())
        return None if found is None else _Entry(*json.loads(found))


@dataclass(frozen=True, slots=True)
class _Entry:
    """How often a command was given and not settled, when, and to which connection, as far as it was read yet."""

    count: int
    at: int
    connection: str
    linked: bool = False


def _id(message: Message) -> str:
    found = header_of(message, "ce_id")
    if found is None:
        raise ValueError("no id")
    return found


def _copy_key(object_id: str, connection: str) -> bytes:
    return f"m:{object_id}/{connection}".encode()
