"""What the hub has written where, from the `link` topic: by it an echo is known, and an object's copy is found."""

import json
from collections.abc import Mapping
from typing import Any

from unsilo_schemas.link import Link, Story

from ..kafka import Message
from .commands import Commands
from .stories import Write
from .table import Changes, Table

_KEPT_WRITES = 20  # of one object: an echo comes within seconds of its write


class Links:
    """The links in the table."""

    def __init__(self, table: Table, commands: Commands) -> None:
        self._table = table
        self._commands = commands

    def take(self, message: Message, changes: Changes) -> None:
        """Enters a link, by which its command is settled."""
        link = Link.model_validate(json.loads(message.value() or b"")["entity"])
        until = int(message.timestamp()[1])
        issued = self._commands.issued_at(link.command)
        entry = {
            "command": link.command,
            "from": until if issued is None else min(issued, until),
            "until": until,
            "story": link.story.model_dump(),
        }
        for wrote in link.wrote:
            key = b"w:" + wrote.id.encode()
            known = [item for item in json.loads(changes.get(key) or b"[]") if item["command"] != link.command]
            changes.put(key, json.dumps([*known, {**entry, "fields": wrote.fields}][-_KEPT_WRITES:]).encode())
        for here, there in ((link.left, link.right), (link.right, link.left)):
            key = _twin_key(here.id, there.ref.connection)
            if changes.get(key) is None:  # the first copy, or the original: what is said later of it belongs there
                changes.put(key, json.dumps(there.ref.model_dump(exclude_unset=True)).encode())
        self._commands.linked(link.command, link.left.id, link.right.ref.connection, changes)

    def writes(self, object_id: str) -> list[Write]:
        """The latest writes of the hub to an object, the newest last."""
        found = self._table.get(b"w:" + object_id.encode())
        return [] if found is None else [_write(item) for item in json.loads(found)]

    def twin(self, object_id: str, connection: str) -> Mapping[str, Any] | None:
        """Where an object's copy, or its original, lives in a connection."""
        found = self._table.get(_twin_key(object_id, connection))
        return None if found is None else dict(json.loads(found))


def _twin_key(object_id: str, connection: str) -> bytes:
    return f"t:{object_id}/{connection}".encode()


def _write(item: Mapping[str, Any]) -> Write:
    fields = None if item["fields"] is None else frozenset(item["fields"])
    return Write(item["from"], item["until"], fields, Story.model_validate(item["story"]))
