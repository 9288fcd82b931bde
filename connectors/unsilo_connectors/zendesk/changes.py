"""Mappings of the events on tickets, users and organizations. They differ in their layout, not in their making."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ..contract import Event, Facts, Raw, Translate
from ..payloads import pointer
from .layouts import STATUS, Layout
from .notice import Notice, inner, required
from .settings import ZendeskSettings
from .values import Here, flag, identifier, named, tags

Verb: TypeAlias = Callable[[Any, Any, Here], str]  # from Zendesk's values before and after

_LIVE = frozenset({"new", "open", "waiting_on_requester", "on_hold"})
_DONE = frozenset({"resolved", "closed"})
_ADDRESSES = {"email": ("/emails",), "phone_number": ("/phones",)}


def whole(layout: Layout, verb: str, complete: bool = True) -> Translate[Notice, ZendeskSettings]:
    """An event that the object alone tells."""

    def translate(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
        yield told(layout, verb, notice, raw, notice.detail, complete=complete)

    return translate


def change(layout: Layout, name: str, verb: Verb | None = None) -> Translate[Notice, ZendeskSettings]:
    """One field changed, told as `current` and `previous`. Without `current`, the object has the new value."""
    targets = layout.targets(name)

    def translate(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
        here, event, source = raw.connection, notice.event, notice.detail
        if "current" in event:
            source = {**source, name: event["current"]}
        previous = None
        if "previous" in event:
            previous = {path: named("previous", reader, event["previous"], here) for path, reader in targets.items()}
        if previous is not None and len(targets) > 1:  # a role says two things, of which one may stay as it was
            now = {path: reader(source.get(name), here) for path, reader in targets.items()}
            previous = {path: value for path, value in previous.items() if value != now[path]}
        changed = tuple(targets) if previous is None else tuple(previous)
        said = "updated" if verb is None else verb(event.get("previous"), source.get(name), here)
        yield told(layout, said, notice, raw, source, changed, previous, complete=name in source)

    return translate


def custom_field(layout: Layout) -> Translate[Notice, ZendeskSettings]:
    """A field that the account defined. Tickets wrap its value, and name it `custom_field`; others do neither."""

    def translate(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
        event = notice.event
        field = required(inner(event, "custom_field") or inner(event, "field"), "id", raw.connection)
        path = pointer("custom", field)
        custom = {field: _unwrapped(event["current"])} if "current" in event else {}
        previous = {path: _unwrapped(event["previous"])} if "previous" in event else None
        complete = "current" in event
        yield told(layout, "updated", notice, raw, notice.detail, (path,), previous, complete, custom=custom)

    return translate


def tagged(layout: Layout) -> Translate[Notice, ZendeskSettings]:
    """Tags came and went. Only tickets show all of them; elsewhere the record is worth asking for."""

    def translate(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
        here, event, detail = raw.connection, notice.event, notice.detail
        came, went = _listed(event, "tags_added", "added", here), _listed(event, "tags_removed", "removed", here)
        previous: Facts | None = None
        if "tags" in detail and (came or went):
            now, new = named("tags", tags, detail["tags"], here) or [], set(came)
            previous = {"/tags": [*(tag for tag in now if tag not in new), *went]}
        yield told(layout, "updated", notice, raw, detail, ("/tags",), previous, complete="tags" in detail)

    return translate


def deleted(layout: Layout) -> Translate[Notice, ZendeskSettings]:
    def translate(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
        at = notice.time(raw.connection)
        yield told(layout, "deleted", notice, raw, notice.detail, ("/deleted_at",), deleted_at=at)

    return translate


def restored(layout: Layout) -> Translate[Notice, ZendeskSettings]:
    def translate(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
        yield told(layout, "restored", notice, raw, notice.detail, ("/deleted_at",), deleted_at=None)

    return translate


def merged(layout: Layout) -> Translate[Notice, ZendeskSettings]:
    """The object went into another one, which only the event names."""

    def translate(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
        source = notice.detail
        if "target_ticket_id" in notice.event:
            source = {**source, "target_ticket_id": notice.event["target_ticket_id"]}
        yield told(layout, "merged", notice, raw, source, ("/merged_into",))

    return translate


def identity(layout: Layout) -> Translate[Notice, ZendeskSettings]:
    """A user won, changed or lost an address; which ones there are now, the event does not say."""

    def translate(notice: Notice, raw: Raw[ZendeskSettings]) -> Iterable[Event]:
        event = notice.event
        of = inner(event, "identity") or inner(event, "current") or inner(event, "previous")
        kind = of.get("type")
        changed = _ADDRESSES.get(kind, ()) if isinstance(kind, str) else ()
        yield told(layout, "updated", notice, raw, notice.detail, changed, complete=False)

    return translate


def told(
    layout: Layout,
    verb: str,
    notice: Notice,
    raw: Raw[ZendeskSettings],
    source: Mapping[str, Any],
    changed: Sequence[str] = (),
    previous: Facts | None = None,
    complete: bool = True,
    custom: Mapping[str, Any] | None = None,
    **more: Any,
) -> Event:
    """The event on the object in `source`."""
    here = raw.connection
    remote_id = required(source, "id", here)
    fields = layout.read(source, here)
    if custom:
        fields["custom"] = {**fields.get("custom", {}), **custom}
    fields.update(here.identified(layout.remote_type, remote_id, url=layout.url(remote_id, here)), **more)
    return Event(
        type=layout.kind[verb],
        key=notice.key(here),
        time=notice.time(here),
        entity=fields,
        changed=changed,
        previous=previous,
        complete=complete,
        actor=notice.actor(here),
    )


def status_verb(before: Any, after: Any, here: Here) -> str:
    """Solved or closed, open again after it, or just another status."""
    was, now = _category(before, here), _category(after, here)
    if now in _DONE:
        return now
    return "reopened" if was in _DONE and now in _LIVE else "status_changed"


def assigned_verb(before: Any, after: Any, here: Here) -> str:
    """To take a ticket from somebody without giving it to anybody assigns nothing."""
    return "updated" if identifier(after, here) is None else "assigned"


def active_verb(before: Any, after: Any, here: Here) -> str:
    return "deactivated" if flag(after, here) is False else "updated"


def _category(status: Any, here: Here) -> str:
    read = STATUS(status, here)
    return (read and read["category"]) or ""


def _listed(event: Mapping[str, Any], flat: str, nested: str, here: Here) -> list[str]:
    """Tags, as ticket events have them and as the others do."""
    value = event[flat] if flat in event else inner(event, nested).get("tags")
    return named(flat, tags, value, here) or []


def _unwrapped(value: Any) -> Any:
    return value["value"] if isinstance(value, dict) and "value" in value else value
