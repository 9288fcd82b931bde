"""The decision: what one raw record becomes. A pure function of the record and the mapping."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from pydantic import ValidationError
from unsilo_connectors.contract import Connection, Connector, Event, MalformedWebhook, Raw
from unsilo_connectors.discovery import line_of
from unsilo_connectors.payloads import describe
from unsilo_schemas.entity import EventType
from unsilo_schemas.envelope import JSON, timestamp
from unsilo_schemas.identity import event_id
from unsilo_schemas.jsonschema import file_name
from unsilo_schemas.topics import EVENT_BYTES, Topics
from unsilo_schemas.writer import SchemaViolation, Writer, writer

from ..dead_letters import DeadLetter
from ..errors import where

_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:/-]{1,80}")  # the type comes from the sender: no text of theirs is shown
_ROOM_FOR_HEADERS = 128 * 1024  # a trace context alone may fill what the gateway takes as a request's head


class Published(NamedTuple):
    """An event as it goes to its topic. `id` is the event id in 16 bytes: what deduplication remembers."""

    id: bytes
    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    type: str


@dataclass(frozen=True, slots=True)
class _Fixed:
    """What all events of one type and connection have in common."""

    topic: str
    headers: list[tuple[str, bytes]]
    subject: str
    key: str
    writer: Writer


class Mapping:
    """One connection's mapping, with all that need not be done per event done once."""

    def __init__(
        self, connector: Connector[Any, Any], connection: Connection[Any], topics: Topics, public_url: str
    ) -> None:
        self.connector = connector
        self.connector_name = connector.name.encode()  # as raw records have it
        self.connection = connection
        self._topics = topics
        self._schemas_url = public_url + "/schemas/"
        self._fixed: dict[str, _Fixed] = {}  # by the event type's name

    def normalize(self, raw: Raw[Any], trace: Sequence[tuple[str, bytes]] = ()) -> list[Published] | None:
        """The events of a raw record, with the sender's trace context; None where its type is declared ignored.

        Raises DeadLetter.
        """
        connector = self.connector
        try:
            payload = connector.decode(raw)
            kind = connector.event_type(payload, raw)
            if kind in connector.ignored:
                return None
            translate = connector.events.get(kind)
            if translate is None:
                raise DeadLetter("source_unmapped", f"{connector.name} does not declare {_shown(kind)}", "map")
            return [self._publish(event, raw.received_at, trace) for event in translate(payload, raw)]
        except MalformedWebhook as error:
            raise DeadLetter("payload_malformed", str(error), "decode") from None
        except SchemaViolation as error:
            raise DeadLetter("schema_violation", str(error), "map") from None
        except ValidationError as error:
            raise DeadLetter("schema_violation", describe(error), "map") from None
        except DeadLetter:
            raise
        except Exception as error:  # a fault of the connector must not stop everybody else's events
            line = line_of(error, connector.name)
            said = f"{type(error).__name__} at {line}" if line else where(error)
            raise DeadLetter("payload_malformed", f"{connector.name}: its mapping failed: {said}", "map") from None

    def _publish(self, event: Event, received_at: datetime, trace: Sequence[tuple[str, bytes]]) -> Published:
        kind, entity, actor = event.type, event.entity, event.actor
        fixed = self._fixed.get(kind.name) or self._fix(kind)
        value = fixed.writer.write(event.data)  # first: what follows relies on the types
        account = "" if actor is None else actor["ref"]["id"]
        size = len(value) + 4 * (len(account) + len(event.sequence or ""))  # a character has four bytes at most
        if size > EVENT_BYTES - _ROOM_FOR_HEADERS:
            raise DeadLetter("size_exceeded", f"the event has up to {size} bytes", "encode")
        identity = event_id(self.connection.id, event.key)
        id_text = identity.encode()
        key = entity[fixed.key].encode()
        headers = [
            *fixed.headers,
            ("ce_id", id_text),
            ("ce_subject", (fixed.subject + entity["id"]).encode()),
            ("ce_time", timestamp(event.time).encode()),
            ("ce_recordedtime", _recorded(received_at)),
            ("ce_partitionkey", key),
            ("ce_correlationid", id_text),
            *trace,
        ]
        if event.sequence is not None:
            headers.append(("ce_sequence", event.sequence.encode()))
        if actor is not None:
            headers.append(("ce_authtype", (actor.get("kind") or "unknown").encode()))
            headers.append(("ce_authid", account.encode()))
        return Published(bytes.fromhex(identity.replace("-", "")), fixed.topic, key, value, headers, kind.name)

    def _fix(self, event: EventType) -> _Fixed:
        kind = event.entity_type
        connection = self.connection.id
        headers = {
            "content-type": JSON,
            "ce_specversion": "1.0",
            "ce_source": f"/c/{connection}",
            "ce_type": event.name,
            "ce_dataschema": self._schemas_url + file_name(event),
            "ce_dataclassification": kind.classification,
            **({} if kind.regulation is None else {"ce_dataregulation": kind.regulation}),
            "ce_connection": connection,
            "ce_mappinggen": str(self.connector.generation),
            "ce_origin": connection,  # what starts a story, starts it here: flows knows the echoes
            "ce_hops": "0",
            "ce_via": connection,
        }
        fixed = _Fixed(
            topic=self._topics.event(kind).name,
            headers=[(name, text.encode()) for name, text in headers.items()],
            subject=kind.name + "/",
            key=kind.key,
            writer=writer(event.data),
        )
        self._fixed[event.name] = fixed
        return fixed


def _shown(kind: str) -> str:
    """A type that nobody declared, as far as it is fit to be shown."""
    start = kind[:80]
    return f"the type {start}" if _IDENTIFIER.fullmatch(start) else "a type that is not shown"


@lru_cache(maxsize=1024)  # one text for all that came in the same millisecond
def _recorded(at: datetime) -> bytes:
    return timestamp(at).encode()


def delivery_id(connection: str, delivery_key: bytes) -> bytes:
    """What deduplication remembers of a delivery, in 16 bytes."""
    digest = _started(connection).copy()
    digest.update(delivery_key)
    return digest.digest()


@cache
def _started(connection: str) -> blake2b:
    """A keyed hash, copied for each delivery: to start one takes longer than the rest."""
    return blake2b(digest_size=16, key=connection.encode()[:64])
