"""A decoded body: an event with Zendesk's fixed envelope, or what an administrator had a trigger say."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ..contract import Facts, MalformedWebhook, Raw
from ..payloads import read_object
from .settings import ZendeskSettings
from .values import Here, Kind, actor, identifier, named, text, time

PREFIX = "zen:event-type:"
TRIGGER = "trigger"

_ACTOR_KINDS: Mapping[str, Kind] = {"system": "system", "bot": "bot", "end_user": "human", "agent": "human"}


class Notice(NamedTuple):
    """One body. `detail` is the object as it is now, `event` what happened; a trigger's body has neither."""

    kind: str
    body: Mapping[str, Any]
    detail: Mapping[str, Any]
    event: Mapping[str, Any]

    def key(self, here: Here) -> str:
        """The event's id, which all retries and all webhooks of the account share."""
        return required(self.body, "id", here)

    def time(self, here: Here) -> datetime:
        """When it happened."""
        found = named("time", time, self.body.get("time"), here)
        if found is None:
            raise MalformedWebhook("time: missing")
        return found

    def actor(self, here: Here) -> Facts | None:
        """Who acted: tickets name them in `detail`, conversations in `event`, users and organizations not at all."""
        if "actor_id" in self.detail:
            return named("actor_id", actor, self.detail["actor_id"], here)
        return person(inner(self.event, "actor"), here)


def decode(raw: Raw[ZendeskSettings]) -> Notice:
    body = read_object(raw.body)
    kind = body.get("type")
    if isinstance(kind, str) and kind.startswith(PREFIX[:-1]):
        kind = PREFIX + kind[len(PREFIX) :]  # the vendor's own list writes some of them with a slash
        return Notice(kind, body, inner(body, "detail"), inner(body, "event"))
    return Notice(TRIGGER, body, {}, {})


def inner(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside; empty where it is absent or null."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedWebhook(f"{name}: not an object")
    return value


def required(source: Mapping[str, Any], name: str, here: Here) -> str:
    """An id without which there is no event."""
    found = named(name, identifier, source.get(name), here)
    if found is None:
        raise MalformedWebhook(f"{name}: missing")
    return found


def person(source: Mapping[str, Any], here: Here) -> Facts | None:
    """Somebody with id and name; None for nobody. `is_staff` says nothing of their kind: agents may be programs."""
    said = source.get("type")
    kind = _ACTOR_KINDS.get(said) if isinstance(said, str) else None
    name = named("name", text, source.get("name"), here)
    return named("id", lambda value, here: actor(value, here, name, kind), source.get("id"), here)
