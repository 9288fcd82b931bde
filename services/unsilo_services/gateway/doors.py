"""One door per configured connection: who may come in, how large, how fast; and what is stored of it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

from pydantic import ValidationError
from unsilo_connectors.contract import (
    MOST_PARTS,
    Answer,
    Connection,
    Connector,
    MalformedWebhook,
    WebhookRequest,
    no_handshake,
)
from unsilo_connectors.masking import masked_body, masked_headers
from unsilo_schemas.topics import Topics

from ..configuration import (
    Configuration,
    ConnectionSection,
    SecretUnavailable,
    connector_of,
    receiving,
)
from ..raw_records import raw_headers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """What goes to a raw topic for one part of a request."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Door:
    """One connection as the gateway needs it. Without a `connection` its secret is missing: it stays shut."""

    section: ConnectionSection
    connector: Connector[Any, Any]
    connection: Connection[Any] | None
    topic: str

    @property
    def max_body_bytes(self) -> int:
        return self.section.max_body_bytes or self.connector.sender.max_body_bytes

    @property
    def deadline(self) -> timedelta:
        return self.connector.sender.deadline

    def takes(self, content_type: str | None) -> bool:
        """Whether the sender is known to send this media type; an absent one is taken as fine."""
        media_type = (content_type or "").partition(";")[0].strip().lower()
        return not media_type or media_type in self.connector.sender.content_types


def doors(configuration: Configuration, topics: Topics) -> dict[str, Door]:
    """The doors of a configuration, by connection id."""
    return {name: _door(section, topics) for name, section in configuration.connections.items()}


def handshake(door: Door, request: WebhookRequest[Any]) -> Answer | None:
    """The answer that a verified request waits for, if it only asks whether we are there."""
    if door.connector.handshake is no_handshake:
        return None
    raw = request.part(request.body)
    try:
        return door.connector.handshake(door.connector.decode(raw), raw)
    except Exception:  # what ails it is found again when it is split, and kept
        return None


def records(door: Door, request: WebhookRequest[Any]) -> list[RawRecord]:
    """What a verified request leaves on the raw log.

    A body that cannot be split is one record, whole, under the connection's id, and so is a part that cannot be keyed:
    the normalizer will find the same fault and keep it as a dead letter, nothing that was acknowledged is lost, and the
    other parts are what they would be. A body that holds nothing is stored whole as well, or more than all other
    requests should wait for.
    """
    connector = door.connector
    headers = masked_headers(request.headers, connector.secrets, door.section.secret_headers)
    try:
        parts = list(islice(connector.split(request), MOST_PARTS + 1))
        if len(parts) > MOST_PARTS:
            log.warning("connection %s: a delivery of more than %d parts is stored whole", door.section.id, MOST_PARTS)
            parts = []
        found = [_record(door, request, part, headers) for part in parts]
    except MalformedWebhook:  # of the split
        found = []
    except Exception:  # a fault of the connector's, which the sender cannot help by sending it again
        log.exception("connection %s: its connector failed on a delivery, which is stored whole", door.section.id)
        found = []
    return found or [_unkeyed(door, request.body, headers)]


def _record(door: Door, request: WebhookRequest[Any], part: bytes, headers: Mapping[str, str]) -> RawRecord:
    connector = door.connector
    raw = request.part(part)
    try:
        payload = connector.decode(raw)
        key = connector.aggregate(payload, raw).encode()
    except MalformedWebhook:
        return _unkeyed(door, part, headers)
    vendor = raw_headers(headers, connector.name, connector.delivery_key(payload, raw))
    return RawRecord(door.topic, key, masked_body(part, connector.secrets), vendor)


def _unkeyed(door: Door, body: bytes, headers: Mapping[str, str]) -> RawRecord:
    connector = door.connector
    value = masked_body(body, connector.secrets)
    return RawRecord(door.topic, door.section.id.encode(), value, raw_headers(headers, connector.name, None))


def _door(section: ConnectionSection, topics: Topics) -> Door:
    connector = connector_of(section)
    topic = topics.raw(section.id, section.partitions).name
    try:
        return Door(section, connector, receiving(section), topic)
    except SecretUnavailable as error:
        log.error("connection %s refuses everything: %s", section.id, error)
    except ValidationError:
        log.error("connection %s refuses everything: its settings do not hold: run `unsilo check`", section.id)
    return Door(section, connector, None, topic)
