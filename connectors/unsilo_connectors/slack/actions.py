"""What is written to Slack: messages, and replies in a thread. The Web API answers 200 where it refuses, too."""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias
from urllib.parse import urlencode

from pydantic import Field, JsonValue

from ..actions import (
    Action,
    Arguments,
    Call,
    Command,
    Postponed,
    Refused,
    Response,
    Steps,
    Written,
    checked,
    json_call,
    retry_after,
)
from ..contract import Connection
from .message import MARKER, marker_of
from .settings import SlackSettings

Here: TypeAlias = Connection[SlackSettings]
Object: TypeAlias = Mapping[str, Any]

EVENT_TYPE = "unsilo_delivery"  # metadata has to have one

_LONGEST_TEXT = 40_000  # beyond it, Slack cuts a message off and says nothing
_CHANNEL_ID = re.compile(r"[A-Z][A-Z0-9]{5,}")  # a name has no capital letters
_CLOCKS_DIFFER = timedelta(minutes=5)
_PAGES = 10
_PAGE_SIZE = 200  # the most that Slack recommends


class PostArguments(Arguments):
    """`channel` is an id, or a name; `text` is mrkdwn."""

    channel: str = Field(min_length=1)
    text: str = Field(min_length=1, max_length=_LONGEST_TEXT)


class ReplyArguments(Arguments):
    """`text` is mrkdwn."""

    text: str = Field(min_length=1, max_length=_LONGEST_TEXT)


def post(command: Command[Here, PostArguments]) -> Steps:
    """chat.postMessage. What an earlier attempt may have posted is looked for in the channel's history."""
    here, channel = command.connection, command.arguments.channel
    if command.repeated:
        if not _CHANNEL_ID.fullmatch(channel):
            channel = yield from _channel_id(here, channel)
        if earlier := (yield from _earlier(command, "conversations.history", channel)):
            return earlier
    return (yield from _say(command, channel, command.arguments.text))


def reply(command: Command[Here, ReplyArguments]) -> Steps:
    """chat.postMessage in the thread of a message; looked for among the thread's replies."""
    message = command.target
    if message is None or not message.scope:
        raise Refused("has no message that this could reply to")
    if command.repeated and (
        earlier := (yield from _earlier(command, "conversations.replies", message.scope, ts=message.id))
    ):
        return earlier
    return (yield from _say(command, message.scope, command.arguments.text, thread_ts=message.id))


def whoami(connection: Here) -> Generator[Call, Response, Sequence[str]]:
    """auth.test. Messages by the app name its `bot_id`, and all else that it does the id of the bot's user."""
    if connection.settings.token is None:
        return ()
    answer = _done((yield _call(connection, "auth.test", {})))
    ids = tuple(_id(answer[name]) for name in ("bot_id", "user_id") if answer.get(name))
    if not ids:
        raise Postponed("answered without saying who we are")
    return ids


ACTIONS = {
    "post": Action("Post a message in a channel", PostArguments, post),
    "reply": Action("Reply in a message's thread", ReplyArguments, reply, target_type="message"),
}


def _say(command: Command[Here, Any], channel: str, text: str, **thread: str) -> Steps:
    """The key goes along as metadata, which comes back in the message's event and in its channel's history."""
    marker: JsonValue = {"event_type": EVENT_TYPE, "event_payload": {MARKER: command.key}}
    body = {"channel": channel, "text": text, "metadata": marker, **thread}
    answer = _done((yield _call(command.connection, "chat.postMessage", body)))
    return (Written("message", _id(answer.get("ts")), _id(answer.get("channel"))),)


def _earlier(
    command: Command[Here, Any], method: str, channel: str, **thread: str
) -> Generator[Call, Response, Sequence[Written]]:
    """The message that bears our key, if there is one: it cannot be older than the command."""
    oldest = f"{(command.issued - _CLOCKS_DIFFER).timestamp():.6f}"
    query = {"channel": channel, **thread, "oldest": oldest, "include_all_metadata": "true"}
    found = yield from _find(
        command.connection, method, query, "messages", lambda message: marker_of(message.get("metadata")) == command.key
    )
    return () if found is None else (Written("message", _id(found.get("ts")), channel),)


def _channel_id(here: Here, name: str) -> Generator[Call, Response, str]:
    """Messages are posted by a channel's name as well, but its history is read by its id alone."""
    query = {"types": "public_channel,private_channel", "exclude_archived": "true"}
    bare = name.removeprefix("#")
    found = yield from _find(
        here, "conversations.list", query, "channels", lambda channel: bool(channel.get("name") == bare)
    )
    if found is None:
        raise _refused("channel_not_found")
    return _id(found.get("id"))


def _find(
    here: Here, method: str, query: Mapping[str, str], listed: str, wanted: Callable[[Object], bool]
) -> Generator[Call, Response, Object | None]:
    """The first object wanted of a paged list; Refused rather than a guess where the list is too long to be read."""
    cursor: Mapping[str, str] = {}
    for _ in range(_PAGES):
        answer = _done((yield _read(here, method, {**query, "limit": str(_PAGE_SIZE), **cursor})))
        objects = answer.get(listed)
        for item in objects if isinstance(objects, list) else ():
            if isinstance(item, dict) and wanted(item):
                return item
        metadata = answer.get("response_metadata")
        following = metadata.get("next_cursor") if isinstance(metadata, dict) else None
        if not isinstance(following, str) or not following:
            return None
        cursor = {"cursor": following}
    raise Refused(f"may have this message already: it is not within {_PAGES} pages of {method}, and there are more")


def _call(here: Here, method: str, body: JsonValue) -> Call:
    return json_call("POST", f"{here.settings.api_url}/{method}", body, _authorization(here))


def _read(here: Here, method: str, query: Mapping[str, str]) -> Call:
    text = urlencode(query, errors="replace")
    return Call("GET", f"{here.settings.api_url}/{method}?{text}", _authorization(here))


def _authorization(here: Here) -> Mapping[str, str]:
    token = here.settings.token
    if token is None:
        raise Refused("cannot be written to without `token` in the connection's settings")
    return {"authorization": f"Bearer {token.get_secret_value()}"}


def _done(response: Response) -> Object:
    """The answer, if it says `ok`; else Refused or Postponed by its error."""
    answer = checked(response).object()
    if answer.get("ok") is True:
        return answer
    error = answer.get("error")
    if error in _TOO_FAST:
        raise Postponed(f"is told too much at once ({error})", retry_after(response), whole_connection=True)
    if error in _UNWELL:
        raise Postponed(f"cannot do it now ({error})", retry_after(response))
    raise _refused(error)


def _refused(error: object) -> Refused:
    """Only a word is repeated, so that nothing of what we said comes back in a message for operators."""
    word = error if isinstance(error, str) and re.fullmatch(r"[a-z0-9_]{1,60}", error) else "no reason given"
    return Refused(f"{_MEANINGS.get(word, 'refuses')} ({word})")


def _id(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isascii():
        raise Postponed("answered without naming what it has done")
    return value


_TOO_FAST = ("ratelimited", "rate_limited", "message_limit_exceeded")
_UNWELL = (
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",  # the workspace is being moved into an organisation, which takes some minutes
    "org_login_required",
)
_MEANINGS = {
    "channel_not_found": "does not know the channel, or hides it from the app: give its id, and invite the app",
    "not_in_channel": "wants the app in the channel: invite it",
    "is_archived": "has archived the channel",
    "thread_not_found": "no longer has the message to reply to",
    "cannot_reply_to_message": "takes no replies to this message",
    "restricted_action": "does not let the app write there: ask the workspace's administrator",
    "msg_too_long": "finds the text too long",
    "no_text": "was given no text",
    "missing_scope": "misses a scope of the app's: see the connector's guide, add it and install the app again",
    "not_authed": "refuses the token: check the connection's secret",
    "invalid_auth": "refuses the token: check the connection's secret",
    "account_inactive": "has deactivated the app: install it again",
    "token_revoked": "has revoked the token: install the app again",
    "token_expired": "finds the token expired: switch token rotation off, which is not supported",
}
