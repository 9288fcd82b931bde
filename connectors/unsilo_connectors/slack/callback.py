"""The body of a request of the Events API, and how its parts are read: a text where a text must be, or malformed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ..contract import Connection, MalformedWebhook, Raw
from ..payloads import epoch, read_object, read_text
from .settings import SlackSettings

Part = Mapping[str, Any]

EVENT_CALLBACK = "event_callback"
SLACKBOT = "USLACKBOT"  # the one bot that Slack itself does not call a bot


class Callback(NamedTuple):
    """`type` is the outer one; `event` and `id` are empty unless it is `event_callback`."""

    type: str
    id: str
    event: Part
    body: Part


def decode(raw: Raw[SlackSettings]) -> Callback:
    """Reads the envelope; MalformedWebhook unless it has a type and, where it carries an event, that event's id."""
    body = read_object(raw.body)
    outer = text(body, "type")
    if outer != EVENT_CALLBACK:
        return Callback(outer, "", {}, body)
    event = part(body, "event")
    text(event, "type")
    return Callback(outer, text(body, "event_id"), event, body)


def aggregate(callback: Callback, raw: Raw[SlackSettings]) -> str:
    """The space, else the user, else the workspace: whatever the event is about, wherever Slack put its id."""
    event, connection = callback.event, raw.connection
    channel = _id(event.get("channel")) or _id(event.get("channel_id"))
    if not channel and isinstance(item := event.get("item"), dict):
        channel = _id(item.get("channel"))
    if channel:
        return space_id(connection, channel)
    if user := _id(event.get("user")):
        return user_id(connection, user)
    return connection.entity_id("team", _id(callback.body.get("team_id")))


def space_id(connection: Connection[SlackSettings], channel: str) -> str:
    """Channels, private channels and direct messages are one kind of thing, with ids of one kind."""
    return connection.entity_id("channel", channel)


def user_id(connection: Connection[SlackSettings], user: str) -> str:
    """A member's id, `U...` or `W...`: neither prefix is to be relied on."""
    return connection.entity_id("user", user)


def message_id(connection: Connection[SlackSettings], channel: str, ts: str) -> str:
    """A `ts` is unique in its channel only."""
    return connection.entity_id("message", ts, channel)


def happened_at(callback: Callback) -> datetime:
    """`event_ts`, else the event's `ts`, else the envelope's `event_time`, which is all that some events have."""
    event = callback.event
    if (ts := event.get("event_ts") or event.get("ts")) is not None:
        return moment(ts)
    return seconds(callback.body, "event_time")


def moment(ts: object) -> datetime:
    """The time that a `ts` states. It has to be a text: a float would be another id and another time."""
    if not isinstance(ts, str):
        raise MalformedWebhook("ts: not a text")
    return epoch(ts)


def seconds(of: Part, name: str) -> datetime:
    """A moment in whole Unix seconds."""
    value = of.get(name)
    if type(value) is not int:
        raise MalformedWebhook(f"{name}: not an integer")
    return epoch(value)


def part(of: Part, name: str) -> Part:
    """An object that must be there."""
    value = of.get(name)
    if not isinstance(value, dict):
        raise MalformedWebhook(f"{name}: not an object")
    return value


def text(of: Part, name: str) -> str:
    """A text that must be there and say something."""
    return read_text(of.get(name), name)


def nullable_text(of: Part, name: str) -> str | None:
    """A text that may be empty, or null."""
    value = of.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedWebhook(f"{name}: not a text")
    return value


def subtype(message: Part) -> str:
    """What kind of message; empty for an ordinary one."""
    return nullable_text(message, "subtype") or ""


def first_text(of: object, *names: str) -> str | None:
    """The first of these that says something, in a part that may be missing."""
    if isinstance(of, dict):
        for name in names:
            if isinstance(value := of.get(name), str) and value:
                return value
    return None


def _id(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else ""
