"""Whom to trust, what kind of event it is, and which mapping says what it means."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ..contract import Answer, Connector, Raw, Secrets, Sender, UntrustedWebhook, WebhookRequest
from ..signatures import check_age, check_signature, hmac_hex
from . import message, mrkdwn, reaction, space, user
from .actions import ACTIONS, whoami
from .callback import EVENT_CALLBACK, Callback, Part, aggregate, decode, nullable_text, part, subtype, text
from .ignored import IGNORED
from .settings import SlackSettings

_SIGNATURE = "x-slack-signature"
_TIMESTAMP = "x-slack-request-timestamp"
_VERSION = "v0"
_CHANNELS = frozenset({"channel", "group"})
_DIRECT = frozenset({"im", "mpim", "app_home"})


def verify(request: WebhookRequest[SlackSettings]) -> None:
    """HMAC-SHA256 in hexadecimal over version, time and body, joined with colons; the time within five minutes."""
    sent = request.headers.get(_TIMESTAMP)
    if not sent:
        raise UntrustedWebhook("timestamp_missing")
    if not (sent.isascii() and sent.isdigit() and len(sent) <= 11):  # 11 digits reach to the year 5138
        raise UntrustedWebhook("timestamp_malformed")
    secrets = request.connection.settings.signing_secret
    check_signature(
        request.headers.get(_SIGNATURE), _signed(sent, request.body), secrets, hmac_hex, prefix=f"{_VERSION}="
    )
    check_age(datetime.fromtimestamp(int(sent), UTC), request.received_at)


def sign(body: bytes, settings: SlackSettings, moment: datetime) -> Mapping[str, str]:
    """The two headers by which Slack proves itself."""
    sent = str(int(moment.timestamp()))
    signature = hmac_hex(settings.signing_secret[0], _signed(sent, body)).decode()
    return {_TIMESTAMP: sent, _SIGNATURE: f"{_VERSION}={signature}"}


def _signed(sent: str, body: bytes) -> bytes:
    return f"{_VERSION}:{sent}:".encode() + body


def event_type(callback: Callback, raw: Raw[SlackSettings]) -> str:
    """Slack's word; after a slash what it is about, after a dot the kind of direct message that is closed to us."""
    if callback.type != EVENT_CALLBACK:
        return callback.type
    kind = text(callback.event, "type")
    opened = raw.connection.settings.direct_messages
    if kind == "message":
        return _message_type(callback.event, opened)
    if kind in ("reaction_added", "reaction_removed"):
        return _reaction_type(kind, callback.event, opened)
    return kind


def _message_type(event: Part, opened: bool) -> str:
    """A `channel_type` that nobody knows may be as private as a direct message: it is left undeclared."""
    where = nullable_text(event, "channel_type") or ("im" if _is_direct(text(event, "channel")) else "channel")
    if where not in _CHANNELS and not (opened and where in _DIRECT):
        return f"message.{where}"
    kind = subtype(event)
    if not kind and "message" in event:
        kind = "message_replied"  # Slack forgets this subtype, and this one only
    return f"message/{kind}" if kind else "message"


def _reaction_type(kind: str, event: Part, opened: bool) -> str:
    item = part(event, "item")
    what = text(item, "type")
    if what != "message":
        return f"{kind}/{what}"
    return kind if opened or not _is_direct(text(item, "channel")) else f"{kind}.im"


def _is_direct(channel: str) -> bool:
    """Where the kind of channel is not sent: the ids of direct messages between two, and only theirs, begin with D."""
    return channel.startswith("D")


def handshake(callback: Callback, raw: Raw[SlackSettings]) -> Answer | None:
    """Slack asks once, when the Request URL is entered, and wants its challenge back."""
    return Answer(text(callback.body, "challenge").encode()) if callback.type == "url_verification" else None


def delivery_key(callback: Callback, raw: Raw[SlackSettings]) -> str | None:
    """The same over all retries of an event."""
    return callback.id or None


connector = Connector(
    name="slack",
    title="Slack",
    settings=SlackSettings,
    sender=Sender(
        deadline=timedelta(seconds=3),
        retry_horizon=timedelta(hours=1),
        on_failure=(
            "Tries three times more, at once, after one minute and after five; then the event is lost. With fewer than "
            "5 % of an hour's deliveries accepted, Slack switches the subscription off until somebody switches it on."
        ),
    ),
    verify=verify,
    sign=sign,
    decode=decode,
    aggregate=aggregate,
    event_type=event_type,
    events={
        **{f"message/{kind}" if kind else "message": message.published for kind in message.SAID},
        "message/message_changed": message.edited,
        "message/message_deleted": message.deleted,
        "message/channel_convert_to_private": space.changed("updated", "visibility", **space.PRIVATE),
        "reaction_added": reaction.added,
        "reaction_removed": reaction.removed,
        "channel_created": space.created,
        "channel_rename": space.renamed(),
        "group_rename": space.renamed(**space.PRIVATE),
        "channel_archive": space.changed("archived", "archived", archived=True),
        "group_archive": space.changed("archived", "archived", archived=True, **space.PRIVATE),
        "channel_unarchive": space.changed("unarchived", "archived", archived=False),
        "group_unarchive": space.changed("unarchived", "archived", archived=False, **space.PRIVATE),
        "channel_deleted": space.deleted(),
        "group_deleted": space.deleted(**space.PRIVATE),
        "channel_shared": space.changed("updated", "external", external=True),
        "channel_unshared": space.unshared,
        "member_joined_channel": space.joined,
        "member_left_channel": space.left,
        "team_join": user.joined,
        "user_change": user.changed,
    },
    ignored=IGNORED,
    secrets=Secrets(fields=("token", "bot_access_token", "action_token")),
    handshake=handshake,
    delivery_key=delivery_key,
    outgoing=frozenset({"token"}),
    actions=ACTIONS,
    whoami=whoami,
    escape=mrkdwn.escape,
    plain=mrkdwn.plain,
)
