"""Mappings of what people say on a ticket: comments, and the messages of a conversation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unsilo_schemas.ticket import COMMENT

from ..contract import Event, Facts, Raw
from .delivery import Delivery, inner, person, required
from .layouts import Rows, read_rows
from .settings import ZendeskSettings
from .values import Here, actor, named, text, time, visibility

ROWS: Rows = (
    ("body", "body", text),
    ("html_body", "html_body", text),
    ("is_public", "visibility", visibility),
    ("created_at", "remote_created_at", time),
)


def added(delivery: Delivery, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
    """A comment. Who wrote it acted, even where somebody else's call brought it in."""
    yield _told("added", delivery, raw, "comment", inner(delivery.event, "comment"))


def made_private(delivery: Delivery, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
    """There is no way back: Zendesk cannot make a comment public again."""
    comment = {**inner(delivery.event, "comment"), "is_public": False}
    yield _told("visibility_changed", delivery, raw, "comment", comment, ("/visibility",), {"/visibility": "public"})


def redacted(delivery: Delivery, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
    """A part of the text was made unreadable for good. Where the rest is not told, the record is worth asking for."""
    comment = inner(delivery.event, "comment")
    changed = tuple("/" + name for name in ("body", "html_body") if name in comment)
    yield _told("edited", delivery, raw, "comment", comment, changed or ("/body",), complete=bool(changed))


def message_added(delivery: Delivery, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
    """A message of the conversation that belongs to a ticket; its requester reads them all."""
    event = delivery.event
    message = {**inner(event, "message"), "is_public": True}
    if "actor" in event:
        message["author"] = event["actor"]
    yield _told("added", delivery, raw, "message", message)


def _told(
    verb: str,
    delivery: Delivery,
    raw: Raw[ZendeskSettings],
    remote_type: str,
    comment: Mapping[str, Any],
    changed: Sequence[str] = (),
    previous: Facts | None = None,
    complete: bool = True,
) -> Event:
    here = raw.connection
    remote_id = required(comment, "id", here)
    fields = {
        **here.identified(remote_type, remote_id),
        **_read(comment, here),
        "ticket": here.entity_id("ticket", required(delivery.detail, "id", here)),
    }
    author = fields.get("author") if verb == "added" else None
    return Event(
        COMMENT[verb],
        delivery.key(here),
        delivery.time(here),
        fields,
        changed,
        previous,
        complete,
        author or delivery.actor(here),
    )


def _read(comment: Mapping[str, Any], here: Here) -> dict[str, Any]:
    found = read_rows(ROWS, comment, here)
    if "author" in comment:
        found["author"] = person(inner(comment, "author"), here)
    elif "author_id" in comment:  # seen in place of the object
        found["author"] = named("author_id", actor, comment["author_id"], here)
    return found
