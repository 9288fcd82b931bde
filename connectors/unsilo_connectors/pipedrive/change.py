"""One notice of Pipedrive, whichever version of webhooks sent it.

Version 2 says `create|change|delete` and `meta.entity`, `data`; version 1 says `added|updated|merged|deleted` and
`meta.object`, `current`. Ids come as numbers or as texts in either ("Webhooks v2 migration guide").
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ..contract import Connection, Facts, MalformedWebhook
from ..payloads import epoch, moment, read_id, read_text, write_json

_V1_ACTIONS = {"added": "create", "updated": "change", "merged": "change", "deleted": "delete"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Change(NamedTuple):
    """What happened to one object. `state` is what it is now, or was before its deletion; `before` what differed."""

    connection: Connection[Any]
    action: str
    kind: str
    id: str
    company: str
    state: Any
    before: Any
    meta: dict[str, Any]
    v2: bool

    @property
    def entity_id(self) -> str:
        return self.connection.entity_id(self.kind, self.id, self.company)

    @property
    def key(self) -> str:
        """The id of the event. Version 1 has none, and version 2 says the user's own id in events about users.

        There the time stands in; where it is one of whole seconds, what is said counts as well. Retries say the same,
        with another `attempt`. Whether `correlation_id` is the same in them is not documented.
        """
        meta = self.meta
        if self.v2 and meta.get("id") is not None and str(meta["id"]) != self.id:
            return text_id(meta["id"], "meta.id")
        stamp = meta.get("timestamp_micro") or meta.get("timestamp")
        parts = [self.company, self.kind, self.id, meta["action"], str(stamp)]
        if not meta.get("timestamp_micro") and "." not in str(stamp):
            parts.append(hashlib.sha256(write_json([self.state, self.before])).hexdigest())
        return "/".join(parts)

    @property
    def time(self) -> datetime:
        micro = None if self.v2 else self.meta.get("timestamp_micro")
        if type(micro) is int:
            try:
                return _EPOCH + timedelta(microseconds=micro)
            except OverflowError:
                raise MalformedWebhook("meta.timestamp_micro: a time that no calendar has") from None
        stamp = self.meta.get("timestamp")
        if isinstance(stamp, str) and not stamp.isdecimal():
            return moment(stamp)
        if isinstance(stamp, str | int):  # events about users keep Unix seconds in version 2, too
            return epoch(stamp)
        raise MalformedWebhook("meta.timestamp: not a time")

    @property
    def actor(self) -> Facts | None:
        """Whose act it was. Only in the web app is that surely a person: an API token acts in its owner's name."""
        user = self.meta.get("user_id")
        if user is None or user == "":
            return None
        human = self.meta.get("change_source") == "app"
        return self.connection.actor(text_id(user, "meta.user_id"), kind="human" if human else None)

    def reference(self, kind: str, value: Any, place: str, name: Any = None) -> Facts:
        """Another object of the same company."""
        return self.connection.reference(
            kind, text_id(value, place), self.company, name if isinstance(name, str) else None
        )


def changed_object(body: dict[str, Any], connection: Connection[Any]) -> Change:
    """Reads a body of either version; MalformedWebhook where what identifies the object is missing."""
    meta = body.get("meta")
    if not isinstance(meta, dict):
        raise MalformedWebhook("meta: not an object")
    v2 = "entity" in meta
    action = read_text(meta.get("action"), "meta.action")
    kind = read_text(meta.get("entity" if v2 else "object"), "meta.entity or meta.object")
    current, previous = _only(body.get("data" if v2 else "current")), _only(body.get("previous"))
    deleted = action in ("delete", "deleted")
    return Change(
        connection=connection,
        action=action if v2 else _V1_ACTIONS.get(action, action),
        kind=kind,
        id=text_id(meta.get("entity_id" if v2 else "id"), "meta.entity_id or meta.id"),
        company=text_id(meta.get("company_id"), "meta.company_id"),
        state=previous if deleted and current is None else current,
        before=None if deleted else previous,
        meta=meta,
        v2=v2,
    )


def text_id(value: Any, place: str) -> str:
    """An id as text; version 1 sometimes wraps it with the object's name, as its API does."""
    return read_id(value.get("value") if type(value) is dict else value, place)


def _only(value: Any) -> Any:
    """Version 1 puts the state of a user into a list of one ("Guide for Webhooks")."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
