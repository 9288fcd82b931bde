"""The decision: which commands follow from one event."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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

from ..kafka import Message, headers_of
from ..rules import Flow, Intent, Twins, context_of
from .stories import Act


@dataclass(frozen=True, slots=True)
class Event:
    """An event as flows see it."""

    envelope: Envelope
    key: bytes
    data: Mapping[str, Any]
    act: Act
    only: str | None  # a redriven letter: only the flow that failed

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
    """A command as it goes to its topic."""

    connection: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def read_event(message: Message) -> Event:
    """An event from its record; ValueError or KeyError where it is none."""
    headers = headers_of(message)
    envelope = Envelope.from_headers(headers)
    data = json.loads(message.value() or b"null")
    if not isinstance(data, dict):
        raise ValueError("an event without data")
    kind = EVENT_TYPES[envelope.type]
    recorded = envelope.recordedtime or datetime.now(UTC)
    act = Act(kind.verb, data.get("changed", ()), envelope.authid, int(recorded.timestamp() * 1000))
    only = next((value.decode() for name, value in headers if name == "dl_flow" and value is not None), None)
    return Event(envelope, message.key() or b"", data, act, only)


def route(
    event: Event, story: Story, flows: Sequence[Flow], twins: Twins, onward: Callable[[Story, str], Story]
) -> Iterator[tuple[Flow, Intent, Issued]]:
    """The commands of those flows whose condition holds. Raises TextFailed."""
    context = context_of(event.envelope.type, event.data)
    for flow in flows:
        if flow.holds(context):
            for number, intent in flow.intents(context, twins):
                yield flow, intent, _issue(event, onward(story, intent.connection), flow, number, intent)


def _issue(event: Event, story: Story, flow: Flow, number: int, intent: Intent) -> Issued:
    command_id = event_id("command", "\x1f".join((event.envelope.id, flow.id, str(number))))
    refs = event.data["entity"]["refs"]
    data = CommandData(
        flow=flow.id,
        action=intent.action,
        arguments=intent.arguments,
        mirrors=End(id=event.entity_id, ref=Ref.model_validate(refs[0])),
        target=None if intent.target is None else Ref.model_validate(intent.target),
    )
    key = event.key.decode() if data.target is None else _aggregate(data.target)
    now = datetime.now(UTC)
    envelope = Envelope(
        id=command_id,
        source="/flows/" + flow.id,
        type=ISSUED,
        subject=f"command/{command_id}",
        time=now,
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
    return Issued(intent.connection, key.encode(), value, envelope.to_headers())


def _aggregate(target: Ref) -> str:
    return entity_id(target.connection, target.type, target.id, target.scope or "")
