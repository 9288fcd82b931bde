"""Emoji put to messages become social.reaction."""

from collections.abc import Iterable

from unsilo_schemas.post import REACTION

from ..contract import Event, Facts, Raw
from .callback import Callback, happened_at, message_id, part, space_id, text
from .settings import SlackSettings


def added(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
    """One emoji by one user."""
    return (_event(callback, raw, "added"),)


def removed(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
    """The same reaction, and so the same id, taken back."""
    return (_event(callback, raw, "removed"),)


def _event(callback: Callback, raw: Raw[SlackSettings], verb: str) -> Event:
    """A reaction has no id at Slack: message, user and emoji make one. A bot reacts as its user, without `bot_id`."""
    event, connection, when = callback.event, raw.connection, happened_at(callback)
    item = part(event, "item")
    channel, ts, user, emoji = text(item, "channel"), text(item, "ts"), text(event, "user"), text(event, "reaction")
    remote_id = f"{ts}:{user}:{emoji}"
    who = connection.actor(user)
    moved = {"remote_created_at": when} if verb == "added" else {"deleted_at": when}
    reaction: Facts = {
        **connection.identified("reaction", remote_id, channel),
        "space": space_id(connection, channel),
        "target": message_id(connection, channel, ts),
        "actor": who,
        "emoji": emoji,
        **moved,
    }
    return Event(REACTION[verb], callback.id, when, reaction, () if verb == "added" else ("/deleted_at",), actor=who)
