"""Standard Webhooks from any sender: the connection's settings name which of our event types each of its types is."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.entity import Actor
from unsilo_schemas.writer import writer

from ..contract import (
    Connector,
    Event,
    MalformedWebhook,
    Raw,
    Sender,
    UntrustedWebhook,
    UnusableSecret,
    WebhookRequest,
)
from ..payloads import moment, read_object, read_text
from .actions import ACTIONS
from .naming import actor_in_our_terms, entity_in_our_terms, key, previous_in_our_terms
from .settings import StandardWebhooksSettings
from .signature import MESSAGE_ID, check, delivery_id, signature

# What stands in `events` and `ignored` for the types that a connection's settings list.
MAPPED = "settings.types"
IGNORED = "settings.ignored"


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded delivery."""

    id: str
    type: str
    time: datetime
    data: Any


Incoming = Raw[StandardWebhooksSettings]


def verify(request: WebhookRequest[StandardWebhooksSettings]) -> None:
    """Signed over id, time of the attempt and body; `svix-` headers count as well."""
    secrets = request.connection.settings.secret
    if secrets is None:
        raise UntrustedWebhook("secret_missing")
    check(request.headers, request.body, secrets, request.received_at)


def sign(body: bytes, settings: StandardWebhooksSettings, at: datetime) -> Mapping[str, str]:
    """A message id that follows from the body, so that the same body is the same message."""
    if settings.secret is None:
        raise UnusableSecret("there is none: this connection only sends")
    message_id, sent_at = "msg_" + hashlib.sha256(body).hexdigest()[:27], str(int(at.timestamp()))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": sent_at,
        "webhook-signature": signature(settings.secret[0], message_id, sent_at, body),
    }


def decode(raw: Incoming) -> Message:
    """`{type, timestamp, data}`, and the id from the header."""
    body = read_object(raw.body)
    kind, message_id = body.get("type"), delivery_id(raw.headers)
    if not message_id:
        raise MalformedWebhook("webhook-id: missing")
    if not isinstance(kind, str) or kind in (MAPPED, IGNORED):
        raise MalformedWebhook("type: not an event type")
    return Message(message_id, kind, moment(read_text(body.get("timestamp"), "timestamp")), body.get("data"))


def aggregate(message: Message, raw: Incoming) -> str:
    """What the payload's entity belongs to; a message that will become no event stands for itself."""
    ours = raw.connection.settings.types.get(message.type)
    if ours is None:
        return raw.connection.entity_id("message", message.id)
    return key(_data(message).get("entity"), EVENT_TYPES[ours].entity_type, raw.connection)


def event_type(message: Message, raw: Incoming) -> str:
    """The sender's type, or what stands for it where the settings list it."""
    settings = raw.connection.settings
    if message.type in settings.types:
        return MAPPED
    return IGNORED if message.type in settings.ignored else message.type


def delivery_key(message: Message, raw: Incoming) -> str:
    """The header's id: constant over retries by the specification."""
    return message.id


def mapped(message: Message, raw: Incoming) -> Iterable[Event]:
    """The payload's data is that of our event type, with the sender's own names for objects."""
    connection = raw.connection
    ours = EVENT_TYPES[connection.settings.types[message.type]]
    facts = {"changed": [], "complete": True, **_data(message)}
    actor = facts.pop("actor", None)
    facts["entity"] = entity_in_our_terms(facts.get("entity"), ours.entity_type, connection)
    if facts.get("previous") is not None:
        facts["previous"] = previous_in_our_terms(facts["previous"], ours.entity_type, connection)
    writer(ours.data).check(facts)  # first: what follows relies on the types
    if actor is not None:
        actor = actor_in_our_terms(actor, "actor", connection)
        writer(Actor).check(actor)
    if not all(pointer.startswith("/") for pointer in (*facts["changed"], *(facts.get("previous") or ()))):
        raise MalformedWebhook("changed, previous: not JSON Pointers")
    yield Event(type=ours, key=message.id, time=message.time, actor=actor, **facts)


def _data(message: Message) -> dict[str, Any]:
    if not isinstance(message.data, dict):
        raise MalformedWebhook("data: not an object")
    return message.data


connector = Connector[StandardWebhooksSettings, Message](
    name="standardwebhooks",
    title="Standard Webhooks",
    settings=StandardWebhooksSettings,
    sender=Sender(
        deadline=timedelta(seconds=15),
        retry_horizon=timedelta(days=4),
        on_failure="depends on the sender; the specification suggests ten attempts over about three days",
    ),
    needed_headers=MESSAGE_ID,
    verify=verify,
    sign=sign,
    decode=decode,
    aggregate=aggregate,
    event_type=event_type,
    events={MAPPED: mapped},
    ignored=frozenset({IGNORED}),
    delivery_key=delivery_key,
    outgoing=frozenset({"sending_secret"}),
    actions=ACTIONS,
    knows_its_echoes=False,
)
