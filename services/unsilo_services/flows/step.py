"""A batch of events: drop echoes, let what may be one wait for its link, route the rest."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from unsilo_connectors.contract import as_is
from unsilo_schemas.catalogue import ENTITY_TYPES, EVENT_TYPES
from unsilo_schemas.link import Story
from unsilo_schemas.topics import Topics

from ..audit import SUPPRESSED, audit_record
from ..configuration import Configuration, connector_of
from ..dead_letters import DeadLetter, letter_headers
from ..errors import where
from ..kafka import Message, headers_of
from ..loop import Outbox, Partition, partition_of
from ..metrics import DEAD, FLOW_EVENTS, FLOW_WAITING
from ..rules import Flow, RuleBroken
from ..texts import TextFailed
from .breaker import Breaker
from .copies import Copies, CopyAwaited
from .known import Known
from .route import Event, Issued, read_event, route
from .stories import CREATIONS, barred, continued, judge, suspected
from .waiting import Item, Waiting

log = logging.getLogger(__name__)

CONSUMER = "flows"
_MOST_WAITING = 500  # of one topic
_CROWDED = 250
_LOOK_AGAIN_SECONDS = 0.5


@dataclass(slots=True)
class _Decision:
    """What is to be done about one event: nothing of it is done before all of it is known."""

    commands: list[tuple[Flow, Issued]]
    letters: list[tuple[Flow | None, DeadLetter]]
    suppressed: list[tuple[Flow | None, str]]


class Flows:
    """The step of the flows' loop."""

    def __init__(self, topics: Topics, known: Known) -> None:
        self._topics = topics
        self._known = known
        self._copies = Copies(known)
        self._configuration = Configuration.empty()
        self._flows: dict[str, list[Flow]] = {}  # by event type
        self._awaited: frozenset[str] = frozenset()
        self._written_to: frozenset[str] = frozenset()
        self._breaker = Breaker()
        self._waiting = Waiting()
        self._counted: Counter[tuple[str, str, str]] = Counter()
        self._looked_at = (0, 0.0, 0.0)

    def configure(self, configuration: Configuration) -> None:
        """Takes a configuration over, from the next batch on. A flow that does not hold is left out and logged."""
        if configuration is self._configuration:
            return
        self._configuration = configuration
        self._known.follow(configuration)
        self._flows = defaultdict(list)
        for section in configuration.flows.values():
            try:
                flow = Flow(section, configuration)
            except RuleBroken as broken:
                log.error("flow %s does nothing: %s %s", section.id, ".".join(map(str, broken.path)), broken)
                continue
            for kind in flow.types:
                self._flows[kind.name].append(flow)
        self._written_to = frozenset(step.deliver for section in configuration.flows.values() for step in section.do)
        self._awaited = _awaited(self._flows)

    def event_topics(self) -> list[str]:
        """All topics of events, and that of redriven letters.

        Also those that no flow waits for: one that is added then begins with what happens from now on, and not with
        what its topic still holds.
        """
        return [*{self._topics.event(kind).name for kind in ENTITY_TYPES}, self._topics.retry(CONSUMER).name]

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Waits for what the partitions' last owner has committed."""
        self._known.catch_up()

    def revoking(self, partitions: Sequence[Partition]) -> None:
        """What waits comes again to whoever has the partition next."""

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self._waiting.drop(set(partitions))

    def paused(self) -> Collection[str]:
        FLOW_WAITING.set(len(self._waiting))
        return [topic for topic in self.event_topics() if self._waiting.of(topic) >= _MOST_WAITING]

    def due(self) -> bool:
        """Whether a link has arrived, or time has passed, since what waits was last looked at."""
        if not self._waiting:
            return False
        version, ended, took = self._looked_at
        passed = time.monotonic() - ended
        return passed > _LOOK_AGAIN_SECONDS or (self._known.version != version and passed > 3 * took)

    def process(self, records: Sequence[Message], outbox: Outbox) -> None:
        self._known.check()
        version, began = self._known.version, time.monotonic()
        for item in self._waiting.settled(lambda item: self._settles(item, outbox)):
            outbox.finish(item.partition, item.offset)
        self._looked_at = (version, time.monotonic(), time.monotonic() - began)
        for message in records:
            if _type_of(message) not in self._awaited:
                continue
            item = Item(message, partition_of(message), int(message.offset() or 0))
            if item.key in self._waiting or not self._settles(item, outbox):
                self._waiting.add(item)
                outbox.hold(item.partition, item.offset)

    def committed(self) -> None:
        for (metric, connection, outcome), count in self._counted.items():
            if metric == "dead":
                DEAD.labels(CONSUMER, connection, outcome).inc(count)
            else:
                FLOW_EVENTS.labels(connection, outcome).inc(count)
        self._counted.clear()

    def aborted(self) -> None:
        """Every record that is not finished comes again."""
        self._waiting.clear()
        self._counted.clear()
        self._copies.forget()
        self._breaker.reset()

    def _settles(self, item: Item, outbox: Outbox) -> bool:
        """Settles one event; False if it has to wait."""
        connection = "unknown"
        try:
            event = read_event(item.message)
            connection = event.connection
            decision = self._decide(item, event)
        except Exception as error:  # whatever is wrong with one event must not stop everybody else's
            log.error("an event of %s cannot be routed: %s", connection, where(error))
            self._bury(item, connection, None, DeadLetter("payload_malformed", where(error), "read"), outbox)
            return True
        if decision is None:
            return False
        for flow, why in decision.suppressed:
            self._suppress(event, why, flow, outbox)
        for flow, letter in decision.letters:
            self._bury(item, connection, flow, letter, outbox)
        for _, command in decision.commands:
            outbox.put(self._topics.command(command.connection).name, command.value, command.key, command.headers)
            self._count(event, "commanded")
            if command.creates:
                self._copies.issued(event.entity_id, command.connection)
        return True

    def _decide(self, item: Item, event: Event) -> _Decision | None:
        """What is to be done about an event; None if it has to wait."""
        flows = self._flows.get(event.envelope.type, [])
        story, verdict = self._story(item, event)
        if verdict == "wait":
            return None
        if verdict == "echo":
            if not flows:
                return _Decision([], [], [])
            self._count(event, verdict)
            return _Decision([], [], [(None, "echo")])
        try:
            decision = self._routed(item, event, story, flows)
        except CopyAwaited:
            return None
        if verdict is not None and flows:
            self._count(event, verdict)
        return decision

    def _story(self, item: Item, event: Event) -> tuple[Story, str | None]:
        """The story that an event belongs to, and what it was taken for if it was suspected."""
        here, act = event.connection, event.act
        unsettled = self._known.commands.under_way(here, act.recorded_ms + 1000)  # clocks differ
        written_to = here in self._written_to or unsettled
        if not suspected(act, self._configuration.accounts.get(here), written_to):
            return event.story, None
        writes = self._known.links.writes(event.entity_id)
        verdict = judge(act, writes, int(time.time() * 1000), unsettled)
        if verdict == "wait" and not written_to:  # nobody writes there, whose link could come
            return event.story, None
        if verdict == "near_miss" and not self._known.is_current(here, item.since):
            return event.story, "wait"
        return continued(writes, here) or event.story, verdict

    def _routed(self, item: Item, event: Event, story: Story, flows: Sequence[Flow]) -> _Decision:
        """The commands of those flows that an event starts. Raises CopyAwaited."""
        section = self._configuration.connections.get(event.connection)
        plain = as_is if section is None else connector_of(section).plain
        crowded = self._waiting.of(item.partition[0]) >= _CROWDED

        def twins(object_id: str, connection: str) -> Mapping[str, Any] | None:
            return self._copies.find(object_id, connection, item.since, crowded)

        decision = _Decision([], [], [])
        wanted = []
        for flow in flows:
            if event.only not in (None, flow.id):
                continue
            try:
                wanted.append((flow, list(route(event, story, flow, plain, twins))))
            except TextFailed as error:
                decision.letters.append((flow, DeadLetter("rule_violation", str(error), "text")))
            except DeadLetter as letter:
                decision.letters.append((flow, letter))
        for flow, commands in wanted:
            self._gate(event, story, flow, commands, decision)
        return decision

    def _gate(self, event: Event, story: Story, flow: Flow, wanted: Sequence[Issued], decision: _Decision) -> None:
        """Lets the commands of one flow through, or those of them that its story may still give."""
        allowed = []
        for command in wanted:
            why = barred(story, command.connection)
            if why is None:
                allowed.append(command)
            else:
                decision.suppressed.append((flow, why))
        at = event.act.recorded_ms / 1000
        for command in allowed:
            if not self._breaker.allows(command.written_to, command.connection, at):
                why = f"too many writes on one object: is something answering {command.connection} by itself?"
                decision.letters.append((flow, DeadLetter("budget_exhausted", why, "breaker")))
                return
        decision.commands += [(flow, command) for command in allowed]

    def _count(self, event: Event, outcome: str) -> None:
        self._counted["event", event.connection, outcome] += 1

    def _suppress(self, event: Event, why: str, flow: Flow | None, outbox: Outbox) -> None:
        self._count(event, "suppressed")
        facts = {
            "event": event.envelope.id,
            "outcome": "loop_suppressed",
            "why": why,
            "flow": flow.id if flow else None,
        }
        key, value, headers = audit_record(SUPPRESSED, event.connection, datetime.now(UTC), facts)
        outbox.put(self._topics.audit().name, value, key, headers)

    def _bury(self, item: Item, connection: str, flow: Flow | None, letter: DeadLetter, outbox: Outbox) -> None:
        headers = letter_headers(item.message, letter, CONSUMER, datetime.now(UTC))
        if flow is not None:
            headers.append(("dl_flow", flow.id.encode()))
        outbox.put(self._topics.dead(CONSUMER).name, item.message.value(), item.message.key(), headers)
        self._counted["dead", connection, letter.reason] += 1


def _awaited(flows: Mapping[str, Sequence[Flow]]) -> frozenset[str]:
    """The event types that are looked at: those that flows wait for, and what creates objects that these may be about.

    An echo of the latter waits for its link, so that what comes behind it finds the copy.
    """
    kinds = [EVENT_TYPES[name] for name, found in flows.items() if any(flow.has_targets for flow in found)]
    aggregates = {(kind.entity_type.domain, kind.entity_type.aggregate) for kind in kinds}
    creations = {
        kind.name
        for kind in EVENT_TYPES.values()
        if kind.verb in CREATIONS and (kind.entity_type.domain, kind.entity_type.aggregate) in aggregates
    }
    return frozenset({name for name, found in flows.items() if found} | creations)


def _type_of(message: Message) -> str:
    value = next((value for name, value in headers_of(message) if name == "ce_type"), None)
    return "" if value is None else value.decode("utf-8", "replace")
