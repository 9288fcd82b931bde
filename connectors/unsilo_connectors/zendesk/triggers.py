"""Mappings of the bodies of triggers and automations, whose shape is the administrator's: the settings say where."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from unsilo_schemas.ticket import COMMENT, TICKET

from ..contract import Event, Facts, MalformedWebhook, Raw
from .comments import ROWS
from .layouts import TICKET_LAYOUT
from .notice import TRIGGER, Notice
from .settings import ZendeskSettings
from .values import Here, Reader, ValueT, actor, identifier, named, text, time

COMMENT_ADDED = TRIGGER + ".comment_added"
UNKNOWN = TRIGGER + ".unknown_word"  # declared nowhere: it becomes a dead letter, because a typing error must show
INVOCATION = "x-zendesk-webhook-invocation-id"

_TICKET_READERS = {field: reader for _, field, reader in TICKET_LAYOUT.rows if field != "number"}
_COMMENT_READERS = {field: reader for _, field, reader in ROWS if field != "remote_created_at"}
_CHANGED = {
    "escalated": "priority",
    "assigned": "assignees",
    "status_changed": "status",
    "resolved": "status",
    "reopened": "status",
    "closed": "status",
    "merged": "merged_into",
    "deleted": "deleted_at",
    "restored": "deleted_at",
}
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Filled:
    """A template as Zendesk filled it in."""

    body: Mapping[str, Any]
    steps: Mapping[str, tuple[str, ...]]
    here: Here

    def value(self, name: str) -> Any:
        """What stands for one of our fields; `_ABSENT` where the way to it ends early."""
        found: Any = self.body
        for step in self.steps.get(name, ("",)):
            if not isinstance(found, dict) or step not in found:
                return _ABSENT
            found = found[step]
        return found

    def read(self, name: str, reader: Reader[ValueT]) -> ValueT | None:
        """One field in our terms; None where it is absent."""
        value = self.value(name)
        return None if value is _ABSENT else named(name, reader, value, self.here)

    def fields(self, readers: Mapping[str, Reader[Any]]) -> Facts:
        """Those of the fields that are there."""
        found: Facts = {}
        name = ""
        try:
            for name, reader in readers.items():
                value = self.value(name)
                if value is not _ABSENT:
                    found[name] = reader(value, self.here)
        except MalformedWebhook as error:
            raise MalformedWebhook(f"{name}: {error}") from None
        return found

    def required(self, name: str) -> str:
        """An id without which there is no event."""
        found = self.read(name, identifier)
        if found is None:
            raise MalformedWebhook(f"{name}: missing")
        return found

    def word(self) -> str:
        """What happened, in our words; `updated` where the template does not say."""
        given = self.value("event")
        if given is _ABSENT or given is None or given == "":
            return "updated"
        word = given if isinstance(given, str) else ""
        return self.here.settings.event_words.get(word, word)

    def person(self, name: str) -> Facts | None:
        """Somebody by id, with their name where the template has it."""
        display_name = self.read(name + "_name", text) or None
        return self.read(name, lambda value, here: actor(value, here, display_name))


def filled(notice: Notice, raw: Raw[ZendeskSettings]) -> Filled:
    return Filled(notice.body, raw.connection.settings.template.steps, raw.connection)


def event_type(notice: Notice, raw: Raw[ZendeskSettings]) -> str:
    """Whether it tells of a ticket or of a comment on one, or says neither in a word that we know."""
    word = filled(notice, raw).word()
    if word == "comment_added":
        return COMMENT_ADDED
    return TRIGGER if word in TICKET.events else UNKNOWN


def ticket(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
    """A ticket as the template shows it. A template without status is a thin notice."""
    here, shown = raw.connection, filled(notice, raw)
    word, remote_id, at = shown.word(), shown.required("ticket"), _time(shown, raw)
    fields = shown.fields(_TICKET_READERS)
    custom = shown.value("custom")
    if isinstance(custom, dict):
        fields["custom"] = custom
    if word in ("deleted", "restored"):
        fields["deleted_at"] = at if word == "deleted" else None
    entity = {
        **here.identified("ticket", remote_id, url=TICKET_LAYOUT.url(remote_id, here)),
        "number": remote_id,
        **fields,
    }
    changed = _CHANGED.get(word)
    yield Event(
        type=TICKET[word],
        key=_key(shown, raw),
        time=at,
        entity=entity,
        changed=("/" + changed,) if changed in fields else (),
        complete="status" in fields,
        actor=shown.person("actor"),
    )


def comment(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
    """The latest comment on a ticket, where the trigger says that there is a new one."""
    here, shown = raw.connection, filled(notice, raw)
    remote_id = shown.required("comment")
    fields = shown.fields(_COMMENT_READERS)
    author = shown.person("author")
    if shown.value("author") is not _ABSENT:
        fields["author"] = author
    entity = {
        **here.identified("comment", remote_id),
        "ticket": here.entity_id("ticket", shown.required("ticket")),
        **fields,
    }
    yield Event(
        type=COMMENT["added"],
        key=_key(shown, raw),
        time=_time(shown, raw),
        entity=entity,
        complete="body" in fields,
        actor=author or shown.person("actor"),
    )


def _key(shown: Filled, raw: Raw[ZendeskSettings]) -> str:
    """The administrator's own key, or Zendesk's number of the call, which its retries share.

    The body is the last resort: where a template shows no time, two changes may look alike.
    """
    own = shown.read("key", text)
    return f"{TRIGGER}/{own or raw.headers.get(INVOCATION) or sha256(raw.body).hexdigest()}"


def _time(shown: Filled, raw: Raw[ZendeskSettings]) -> datetime:
    return shown.read("time", time) or raw.received_at
