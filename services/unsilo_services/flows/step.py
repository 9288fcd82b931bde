"""A batch of events: drop echoes, let what may be one wait for its link, route the rest."""

import logging
import time
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.link import Story
from unsilo_schemas.topics import Topics

from ..audit import SUPPRESSED, audit_record
from ..configuration import Configuration
from ..dead_letters import DeadLetter, letter_headers
from ..kafka import Message, headers_of
from ..loop import Outbox, Partition, partition_of
from ..metrics import DEAD, FLOW_EVENTS, FLOW_WAITING
from ..rules import Flow, RuleBroken, TextFailed
from .breaker import Breaker
from .links import Links
from .route import Event, read_event, route
from .stories import ECHO_WINDOW_MS, barred, continued, judge, onward, suspected

log = logging.getLogger(__name__)

CONSUMER = "flows"
_MOST_WAITING = 500
_PENDING_SECONDS = 900.0
_FRESH_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class _Held:
    message: Message
    partition: Partition
    offset: int


class Flows:
    """The step of the flows' loop."""

    def __init__(self, topics: Topics, links: Links) -> None:
        self._topics = topics
        self._links = links
        self._configuration = Configuration.empty()
        self._flows: dict[str, list[Flow]] = {}  # by event type
        self._written_to: set[str] = set()
        self._breaker = Breaker()
        self._waiting: dict[bytes, deque[_Held]] = defaultdict(
            deque
        )  # by aggregate: the first waits, the rest behind it
        self._pending: dict[tuple[str, str], float] = {}  # (object, connection): a copy is being made there
        self._assigned_at: dict[Partition, float] = {}
        self._looked_at = (0, 0.0)

    def configure(self, configuration: Configuration) -> None:
        """Takes a configuration over, from the next batch on. A flow that does not hold is left out and logged."""
        if configuration is self._configuration:
            return
        self._configuration = configuration
        self._flows = defaultdict(list)
        for section in configuration.flows.values():
            try:
                flow = Flow(section, configuration)
            except RuleBroken as broken:
                log.error("flow %s does nothing: %s %s", section.id, ".".join(map(str, broken.path)), broken)
                continue
            for kind in flow.types:
                self._flows[kind.name].append(flow)
        self._written_to = {step.deliver for section in configuration.flows.values() for step in section.do}

    def event_topics(self) -> list[str]:
        """The topics of the events that any flow waits for, and of redriven letters."""
        kinds = [EVENT_TYPES[name].entity_type for name in self._flows]
        return [*{self._topics.event(kind).name for kind in kinds}, self._topics.retry(CONSUMER).name]

    def assigned(self, partitions: Sequence[Partition]) -> None:
        self._assigned_at.update(dict.fromkeys(partitions, time.monotonic()))

    def revoking(self, partitions: Sequence[Partition]) -> None:
        """What waits comes again to whoever has the partition next."""

    def revoked(self, partitions: Sequence[Partition]) -> None:
        lost = set(partitions)
        for key, held in list(self._waiting.items()):
            kept = deque(item for item in held if item.partition not in lost)
            if kept:
                self._waiting[key] = kept
            else:
                del self._waiting[key]

    def paused(self) -> Collection[str]:
        waiting = sum(map(len, self._waiting.values()))
        FLOW_WAITING.set(waiting)
        return self.event_topics() if waiting >= _MOST_WAITING else ()

    def due(self) -> bool:
        """Whether a link has arrived, or time has passed, since what waits was last looked at."""
        if not self._waiting:
            return False
        version, at = self._looked_at
        return self._links.version != version or time.monotonic() - at > 0.5

    def process(self, records: Sequence[Message], outbox: Outbox) -> None:
        self._looked_at = (self._links.version, time.monotonic())
        for key in list(self._waiting):
            held = self._waiting[key]
            while held and self._decide(held[0], outbox):
                done = held.popleft()
                outbox.finish(done.partition, done.offset)
            if not held:
                del self._waiting[key]
        for message in records:
            item = _Held(message, partition_of(message), int(message.offset() or 0))
            key = message.key() or b""
            if key in self._waiting or not self._decide(item, outbox):
                self._waiting[key].append(item)
                outbox.hold(item.partition, item.offset)

    def committed(self) -> None:
        """Nothing to do: what was put is counted as it is decided."""

    def aborted(self) -> None:
        """Every record that is not finished comes again."""
        self._waiting.clear()

    def _decide(self, item: _Held, outbox: Outbox) -> bool:
        """Settles one event; False if it has to wait."""
        kind = _type_of(item.message)
        flows = self._flows.get(kind)
        if not flows:
            return True
        try:
            event = read_event(item.message)
        except (ValueError, KeyError) as error:
            self._bury(item, DeadLetter("payload_malformed", type(error).__name__, "read"), outbox, "unknown")
            return True
        story: Story | None = event.story
        if suspected(
            event.act, self._configuration.accounts.get(event.connection), event.connection in self._written_to
        ):
            writes = self._links.writes(event.entity_id)
            verdict = judge(event.act, writes, _now_ms())
            if verdict == "wait":
                return False
            FLOW_EVENTS.labels(event.connection, verdict).inc()
            if verdict == "echo":
                self._suppress(event, "echo", None, outbox)
                return True
            story = continued(writes, event.connection) or event.story
        if event.only is not None:
            flows = [flow for flow in flows if flow.id == event.only]
        return self._route(item, event, story or event.story, flows, outbox)

    def _route(self, item: _Held, event: Event, story: Story, flows: Sequence[Flow], outbox: Outbox) -> bool:
        missing: list[str] = []

        def twins(object_id: str, connection: str) -> Mapping[str, Any] | None:
            found = self._links.twin(object_id, connection)
            if found is None and self._may_come(item, event, object_id, connection):
                missing.append(connection)
            return found

        issued = []
        letters = []
        for flow in flows:
            try:
                issued += list(route(event, story, [flow], twins, onward))
            except TextFailed as error:
                letters.append((flow, DeadLetter("rule_violation", str(error), "text")))
        if missing:
            return False
        for flow, letter in letters:
            self._bury(item, letter, outbox, event.connection, flow)
        for flow, intent, command in issued:
            why = barred(story, intent.connection)
            if why is not None:
                self._suppress(event, why, flow, outbox)
            elif not self._breaker.allows(event.entity_id, intent.connection, time.monotonic()):
                why = f"too many writes on one object: is something answering {intent.connection} by itself?"
                self._bury(item, DeadLetter("budget_exhausted", why, "breaker"), outbox, event.connection, flow)
            else:
                topic = self._topics.command(command.connection).name
                outbox.put(topic, command.value, command.key, command.headers)
                self._pending[event.entity_id, intent.connection] = time.monotonic() + _PENDING_SECONDS
                FLOW_EVENTS.labels(event.connection, "commanded").inc()
        return True

    def _may_come(self, item: _Held, event: Event, object_id: str, connection: str) -> bool:
        """Whether a copy that is not known may be under way: we asked for it, or someone did just before we began."""
        now = time.monotonic()
        until = self._pending.get((object_id, connection))
        if until is not None:
            if until > now:
                return True
            del self._pending[object_id, connection]
        fresh = now - self._assigned_at.get(item.partition, 0.0) < _FRESH_SECONDS
        return fresh and _now_ms() - event.act.recorded_ms < ECHO_WINDOW_MS

    def _suppress(self, event: Event, why: str, flow: Flow | None, outbox: Outbox) -> None:
        FLOW_EVENTS.labels(event.connection, "suppressed").inc()
        facts = {
            "event": event.envelope.id,
            "outcome": "loop_suppressed",
            "why": why,
            "flow": flow.id if flow else None,
        }
        key, value, headers = audit_record(SUPPRESSED, event.connection, datetime.now(UTC), facts)
        outbox.put(self._topics.audit().name, value, key, headers)

    def _bury(self, item: _Held, letter: DeadLetter, outbox: Outbox, connection: str, flow: Flow | None = None) -> None:
        headers = letter_headers(item.message, letter, CONSUMER, datetime.now(UTC))
        if flow is not None:
            headers.append(("dl_flow", flow.id.encode()))
        outbox.put(self._topics.dead(CONSUMER).name, item.message.value(), item.message.key(), headers)
        DEAD.labels(CONSUMER, connection, letter.reason).inc()


def _type_of(message: Message) -> str:
    return next((value.decode() for name, value in headers_of(message) if name == "ce_type" and value), "")


def _now_ms() -> int:
    return int(time.time() * 1000)
