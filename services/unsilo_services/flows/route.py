"""The decision: which commands follow from one event."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.command import ISSUED, CommandData
from unsilo_schemas.entity import Ref
from unsilo_schemas.envelope import JSON, Envelope
from unsilo_schemas.identity import entity_id, event_id
from unsilo_schemas.link import End, Story

from ..dead_letters import FLOW, REDRIVE_OF
from ..kafka import Message, headers_of, recorded_at
from ..rules import Flow, Intent, RuleFailed, Seen, Twins, context_of
from .stories import Act, onward

_MOST_BYTES = 1024 * 1024  # of one command; vendors take far less


@dataclass(frozen=True, slots=True)
class Event:
    """An event as flows take it. A redriven letter is for one flow only: `only` says for which."""

    envelope: Envelope
    key: bytes
    data: Mapping[str, Any]
    act: Act
    refs: tuple[Ref, ...]
    only: str | None
    redrive_of: bytes | None

    @property
    def entity_id(self) -> str:
        return str(self.data["entity"]["id"])

    @property
    def connection(self) -> str:
        return self.envelope.connection or ""

    @property
    def story(self) -> Story:
        """The story that the event starts, or that it came with."""
        envelope = self.envelope
        via = [name for name in (envelope.via or "").split(",") if name]
        return Story(correlationid=envelope.correlationid or envelope.id, hops=envelope.hops or 0, via=via)


@dataclass(frozen=True, slots=True)
class Issued:
    """A command as it goes to its topic. `object_id` is what it writes to, or tells of if that is new."""

    connection: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    object_id: str
    creates: bool


def read_event(message: Message) -> Event:
    """An event from its record; ValueError, KeyError, TypeError or AttributeError where it is none."""
    headers = headers_of(message)
    envelope = Envelope.from_headers(headers)
    data = json.loads(message.value() or b"null")
    entity = data["entity"]
    recorded = envelope.recordedtime or recorded_at(message)
    act = Act(
        verb=EVENT_TYPES[envelope.type].verb,
        changed=tuple(data.get("changed", ())),
        actor=envelope.authid,
        recorded_ms=int(recorded.timestamp() * 1000),
        marked=bool(entity.get("marker")),
    )
    facts = {name: value for name, value in headers if name in (FLOW, REDRIVE_OF) and value is not None}
    only = facts[FLOW].decode() if FLOW in facts else None
    refs = tuple(Ref.model_validate(ref) for ref in entity["refs"][:1])
    event = Event(envelope, message.key() or b"", data, act, refs, only, facts.get(REDRIVE_OF))
    if not refs or not isinstance(entity["id"], str):
        raise ValueError("an entity without identity")
    return event


def wants(flow: Flow, event: Event, plain: Callable[[str], str]) -> bool:
    """Whether an event starts a flow; also where that cannot be told, which is for `route` to say."""
    try:
        return event.only in (None, flow.id) and flow.holds(Seen(context_of(event.envelope.type, event.data), plain))
    except RuleFailed:
        return True


def route(event: Event, story: Story, flow: Flow, plain: Callable[[str], str], twins: Twins) -> Iterator[Issued]:
    """The commands of a flow, if its condition holds. Raises RuleFailed, and what `twins` raises."""
    seen = Seen(context_of(event.envelope.type, event.data), plain)
    if flow.holds(seen):
        for number, intent in flow.intents(seen, twins):
            yield _issue(event, onward(story, intent.connection), flow, number, intent)


def _issue(event: Event, story: Story, flow: Flow, number: int, intent: Intent) -> Issued:
    command_id = event_id("command", "\x1f".join((event.envelope.id, flow.id, str(number))))
    optional = {} if intent.target is None else {"target": Ref.model_validate(intent.target)}
    data = CommandData(
        flow=flow.id,
        action=intent.action,
        arguments=intent.arguments,
        mirrors=End(id=event.entity_id, ref=event.refs[0]),
        **optional,
    )
    object_id = event.entity_id if data.target is None else _id_of(data.target)
    key = event.key.decode() if data.target is None else object_id
    envelope = Envelope(
        id=command_id,
        source="/flows/" + flow.id,
        type=ISSUED,
        subject=f"command/{command_id}",
        time=datetime.now(UTC),
        recordedtime=event.envelope.recordedtime,
        datacontenttype=JSON,
        partitionkey=key,
        correlationid=story.correlationid,
        causationid=event.envelope.id,
        traceparent=event.envelope.traceparent,
        tracestate=event.envelope.tracestate,
        dataclassification=event.envelope.dataclassification,
        dataregulation=event.envelope.dataregulation,
        connection=intent.connection,
        origin=event.envelope.origin,
        hops=story.hops,
        via=",".join(story.via),
    )
    value = to_json(data.model_dump(mode="json", exclude_unset=True))
    if len(value) > _MOST_BYTES:
        raise RuleFailed(f"the command would have {len(value)} bytes: `truncate` what may be long")
    headers = envelope.to_headers()
    if event.redrive_of is not None:
        headers.append((REDRIVE_OF, event.redrive_of))  # a part of the flow may have been carried out before
    return Issued(intent.connection, key.encode(), value, headers, object_id, data.target is None)


def _id_of(target: Ref) -> str:
    return entity_id(target.connection, target.type, target.id, target.scope or "")
