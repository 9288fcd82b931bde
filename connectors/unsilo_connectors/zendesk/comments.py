"""Mappings of what people say on a ticket: comments, and the messages of a conversation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unsilo_schemas.ticket import COMMENT

from ..contract import Event, Facts, Raw
from .layouts import Rows, read_rows
from .notice import Notice, inner, person, required
from .settings import ZendeskSettings
from .values import Here, actor, named, text, time, visibility

ROWS: Rows = (
    ("body", "body", text),
    ("html_body", "html_body", text),
    ("is_public", "visibility", visibility),
    ("created_at", "remote_created_at", time),
)


def added(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
    """A comment. Who wrote it acted, even where somebody else's call brought it in."""
    yield _told("added", notice, raw, "comment", inner(notice.event, "comment"))


def made_private(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
    """There is no way back: Zendesk cannot make a comment public again."""
    comment = {**inner(notice.event, "comment"), "is_public": False}
    yield _told("visibility_changed", notice, raw, "comment", comment, ("/visibility",), {"/visibility": "public"})


def redacted(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
    """A part of the text was made unreadable for good. Where the rest is not told, the record is worth asking for."""
    comment = inner(notice.event, "comment")
    changed = tuple("/" + name for name in ("body", "html_body") if name in comment)
    yield _told("edited", notice, raw, "comment", comment, changed or ("/body",), complete=bool(changed))


def message_added(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
    """A message of the conversation that belongs to a ticket; its requester reads them all."""
    event = notice.event
    message = {**inner(event, "message"), "is_public": True}
    if "actor" in event:
        message["author"] = event["actor"]
    yield _told("added", notice, raw, "message", message)


def _told(
    verb: str,
    notice: Notice,
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
        "ticket": here.entity_id("ticket", required(notice.detail, "id", here)),
    }
    author = fields.get("author") if verb == "added" else None
    return Event(
        type=COMMENT[verb],
        key=notice.key(here),
        time=notice.time(here),
        entity=fields,
        changed=changed,
        previous=previous,
        complete=complete,
        actor=author or notice.actor(here),
    )


def _read(comment: Mapping[str, Any], here: Here) -> Facts:
    found = read_rows(ROWS, comment, here)
    if "author" in comment:
        found["author"] = person(inner(comment, "author"), here)
    elif "author_id" in comment:  # seen in place of the object
        found["author"] = named("author_id", actor, comment["author_id"], here)
    return found
