"""Channels become social.space, and who comes and goes becomes social.membership."""

from collections.abc import Iterable
from typing import Any, Literal

from unsilo_schemas.space import MEMBERSHIP, SPACE

from ..contract import Connection, Event, Facts, Raw, Translate
from .callback import Callback, Part, first_text, happened_at, nullable_text, part, seconds, space_id, text
from .settings import SlackSettings

PRIVATE = {"visibility": "private"}  # what a `group_...` event says by its name: they are the private channels' twins


def created(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
    """A new public channel. Of a new private one nobody is told: its first event is somebody joining."""
    channel = part(callback.event, "channel")
    known = _described(channel, raw.connection)
    who = None
    if (creator := first_text(channel, "creator")) is not None:
        who = known["creator"] = raw.connection.actor(creator)
    return (Event(SPACE["created"], callback.id, happened_at(callback), known, actor=who),)


def renamed(**told: Any) -> Translate[Callback, SlackSettings]:
    """Another name. Slack does not say which it was before."""

    def translate(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
        known = {**told, **_described(part(callback.event, "channel"), raw.connection)}
        return (Event(SPACE["updated"], callback.id, happened_at(callback), known, ("/name",)),)

    return translate


def changed(verb: str, field: str, **told: Any) -> Translate[Callback, SlackSettings]:
    """An event whose name says it all: besides the channel's id it carries at most who did it."""

    def translate(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
        known = {**raw.connection.identified("channel", text(callback.event, "channel")), **told}
        who = _doer(callback.event, raw.connection)
        return (Event(SPACE[verb], callback.id, happened_at(callback), known, ("/" + field,), actor=who),)

    return translate


def deleted(**told: Any) -> Translate[Callback, SlackSettings]:
    """A channel that is gone, with all that was said in it."""

    def translate(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
        when = happened_at(callback)
        channel = raw.connection.identified("channel", text(callback.event, "channel"))
        known = {**channel, **told, "deleted_at": when}
        who = _doer(callback.event, raw.connection)
        return (Event(SPACE["deleted"], callback.id, when, known, ("/deleted_at",), actor=who),)

    return translate


def unshared(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
    """One outside workspace less; `is_ext_shared` says whether others remain."""
    event = callback.event
    known = raw.connection.identified("channel", text(event, "channel"))
    if isinstance(shared := event.get("is_ext_shared"), bool):
        known["external"] = shared
    changes = ("/external",) if shared is False else ()
    return (Event(SPACE["updated"], callback.id, happened_at(callback), known, changes),)


def joined(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
    """By invitation, or of one's own accord."""
    connection = raw.connection
    inviter = first_text(callback.event, "inviter")
    invited = {} if inviter is None else {"invited_by": connection.actor(inviter)}
    membership = _membership(callback.event, connection, "joined", **invited)
    who = invited.get("invited_by", membership["member"])
    return (Event(MEMBERSHIP["joined"], callback.id, happened_at(callback), membership, actor=who),)


def left(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
    """Gone or removed: Slack says neither which nor by whom, so there is no actor."""
    membership = _membership(callback.event, raw.connection, "left")
    return (Event(MEMBERSHIP["left"], callback.id, happened_at(callback), membership, ("/state",)),)


def _membership(
    event: Part, connection: Connection[SlackSettings], state: Literal["joined", "left"], **invited: Facts
) -> Facts:
    """A membership has no id at Slack: the user's, in that channel, is one."""
    channel, user = text(event, "channel"), text(event, "user")
    return {
        **connection.identified("member", user, channel),
        "space": space_id(connection, channel),
        "member": connection.actor(user),
        "state": state,
        **invited,
    }


def _described(channel: Part, connection: Connection[SlackSettings]) -> Facts:
    known = connection.identified("channel", text(channel, "id"))
    if "name" in channel:
        known["name"] = nullable_text(channel, "name")
    known["kind"] = "group_direct" if channel.get("is_mpim") is True else "channel"
    if isinstance(private := channel.get("is_private"), bool):
        known["visibility"] = "private" if private else "public"
    for theirs, ours in (("is_ext_shared", "external"), ("is_archived", "archived")):
        if isinstance(flag := channel.get(theirs), bool):
            known[ours] = flag
    if channel.get("created") is not None:
        known["remote_created_at"] = seconds(channel, "created")
    return known


def _doer(event: Part, connection: Connection[SlackSettings]) -> Facts | None:
    """`user` in events of public channels, `actor_id` in some of private ones."""
    who = first_text(event, "user", "actor_id")
    return None if who is None else connection.actor(who)
