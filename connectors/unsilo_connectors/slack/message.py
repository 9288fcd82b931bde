"""Messages in channels become social.post and social.reply."""

import re
from collections.abc import Iterable

from unsilo_schemas.entity import EntityType
from unsilo_schemas.post import POST, REPLY

from ..contract import Connection, Event, Facts, MalformedWebhook, Raw
from .callback import (
    SLACKBOT,
    Callback,
    Part,
    first_text,
    happened_at,
    message_id,
    moment,
    nullable_text,
    part,
    space_id,
    subtype,
    text,
)
from .settings import SlackSettings

SAID = ("", "bot_message", "me_message", "file_share", "thread_broadcast")
"""The subtypes of what somebody said. All others are Slack's own notes: who came, what was pinned, a huddle."""

TOMBSTONE = "tombstone"  # what stands for a deleted message while its replies remain
MARKER = "unsilo_key"

_ABSENT = object()
_MENTION = re.compile(r"<@([A-Z0-9]+)(?:\|[^<>]*)?>")
_COMPARED = ("body", "mentions", "attachments", "edited_at", "marker")
_WITHOUT_BYTES = frozenset({"tombstone", "hidden_by_limit"})
_FILE_TEXTS = (("name", "file_name"), ("mimetype", "media_type"), ("url_private", "dataref"))


def published(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
    """A message as it was first said."""
    message = callback.event
    kind, known = _placed(message, text(message, "channel"), raw.connection)
    known.update(_content(message, raw.connection))
    who = _author(message, raw.connection)
    if who is not None:
        known["author"] = who
    when = known["remote_created_at"] if message.get("event_ts") == message["ts"] else happened_at(callback)
    return (Event(kind["published"], callback.id, when, known, actor=who),)


def edited(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
    """`message_changed`, which Slack also sends for what is no edit: a link unfurled, a reply counted, a pin.

    Those change nothing that a post has, and become no event. Where a message with replies turns into a tombstone, that
    is how Slack tells of its deletion.
    """
    event, connection = callback.event, raw.connection
    message = part(event, "message")
    before = event.get("previous_message")
    was = subtype(before) if isinstance(before, dict) else None
    if subtype(message) == TOMBSTONE:
        return () if was == TOMBSTONE else _deletion(callback, raw, message, before)
    if subtype(message) not in SAID:
        return ()
    kind, known = _placed(message, text(event, "channel"), connection)
    now = _content(message, connection)
    then = _content(before, connection) if isinstance(before, dict) else None
    changed: list[str] = []
    if then is not None:
        if then.get("attachments"):
            now.setdefault("attachments", [])  # the whole message is sent: files that it no longer lists are gone
        changed = [name for name in _COMPARED if name in now and then.get(name, _ABSENT) != now[name]]
        if not changed:
            return ()
    known.update(now)
    if (who := _author(message, connection)) is not None:
        known["author"] = who
    return (
        Event(
            type=kind["edited"],
            key=callback.id,
            time=happened_at(callback),
            entity=known,
            changed=["/" + name for name in changed],
            previous={"/" + name: then[name] for name in changed if then and name in then} or None,
            actor=_editor(message, before, changed, who, connection),
        ),
    )


def deleted(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
    """`message_deleted`, also of a tombstone. Slack does not say who deleted."""
    before = callback.event.get("previous_message")
    if isinstance(before, dict) and subtype(before) not in (*SAID, TOMBSTONE):
        return ()
    known = before if isinstance(before, dict) else {}
    return _deletion(callback, raw, {**known, "ts": text(callback.event, "deleted_ts")}, before)


def _deletion(callback: Callback, raw: Raw[SlackSettings], message: Part, before: object) -> Iterable[Event]:
    """What was said is not repeated: whoever deleted it wanted it gone."""
    kind, known = _placed(message, text(callback.event, "channel"), raw.connection)
    when = happened_at(callback)
    known["deleted_at"] = when
    if isinstance(before, dict) and subtype(before) != TOMBSTONE:
        who = _author(before, raw.connection)
        if who is not None:
            known["author"] = who
    return (Event(kind["deleted"], callback.id, when, known, changed=("/deleted_at",)),)


def _placed(message: Part, channel: str, connection: Connection[SlackSettings]) -> tuple[EntityType, Facts]:
    """Which message it is, and where in which thread. The first of a thread has its own `ts` as `thread_ts`."""
    ts = text(message, "ts")
    known = {
        **connection.identified("message", ts, channel),
        "space": space_id(connection, channel),
        "remote_created_at": moment(ts),
    }
    thread = nullable_text(message, "thread_ts")
    if not thread:
        return POST, known
    if thread == ts:
        known["thread"] = known["id"]
        return POST, known
    known["thread"] = known["in_reply_to"] = message_id(connection, channel, thread)
    return REPLY, known


def _content(message: Part, connection: Connection[SlackSettings]) -> Facts:
    """What was said, as far as sent. The text keeps Slack's notation and escapes (`&amp;`, `&lt;`, `&gt;`)."""
    known: Facts = {}
    if "text" in message:
        body = known["body"] = nullable_text(message, "text")
        if body is not None:
            known["format"] = "mrkdwn"
            known["mentions"] = _mentions(body, connection)
    if "files" in message:
        known["attachments"] = _attachments(message["files"])
    edit = message.get("edited")
    if isinstance(edit, dict) and edit.get("ts") is not None:
        known["edited_at"] = moment(edit["ts"])
    if (marker := marker_of(message.get("metadata"))) is not None:
        known["marker"] = marker
    return known


def _mentions(body: str, connection: Connection[SlackSettings]) -> list[Facts]:
    if "<@" not in body:
        return []
    return [{"connection": connection.id, "id": user} for user in dict.fromkeys(_MENTION.findall(body))]


def _attachments(files: object) -> list[Facts] | None:
    if files is None:
        return None
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise MalformedWebhook("files: not a list of objects")
    return [_attachment(file) for file in files if nullable_text(file, "mode") not in _WITHOUT_BYTES]


def _attachment(file: Part) -> Facts:
    """From a workspace connected by Slack Connect a file may come as its id alone, and becomes an empty attachment."""
    known: Facts = {ours: nullable_text(file, theirs) for theirs, ours in _FILE_TEXTS if theirs in file}
    if "size" in file:
        size = file["size"]
        if size is not None and type(size) is not int:
            raise MalformedWebhook("files.size: not an integer")
        known["size"] = size
    return known


def marker_of(metadata: object) -> str | None:
    """What a message's metadata carries for us: the key of the command that wrote it."""
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    return first_text(payload, MARKER)


def _author(message: Part, connection: Connection[SlackSettings]) -> Facts | None:
    """A message by an app has its `bot_id`, whatever user it acts as, and that is what an app knows itself by."""
    if (bot := first_text(message, "bot_id")) is not None:
        name = first_text(message, "username") or first_text(message.get("bot_profile"), "name")
        return connection.actor(bot, name, "bot")
    if (user := first_text(message, "user")) is not None:
        name = first_text(message.get("user_profile"), "display_name", "real_name")
        return connection.actor(user, name, "bot" if user == SLACKBOT else "human")
    return None


def _editor(
    message: Part, before: object, changed: list[str], author: Facts | None, connection: Connection[SlackSettings]
) -> Facts | None:
    """Who edited: in `edited`, unless that is of an earlier edit. Some changes by apps leave it out."""
    edit = message.get("edited")
    by = first_text(edit, "user")
    if by is None or (isinstance(before, dict) and edit == before.get("edited")):
        return author if "body" in changed and first_text(message, "bot_id") else None
    return author if by in (message.get("user"), message.get("bot_id")) else connection.actor(by)
