"""A batch of events: decide on each, do what was decided, let those wait that cannot be decided yet."""

import logging
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from unsilo_schemas.catalogue import ENTITY_TYPES
from unsilo_schemas.topics import Topics

from ..audit import SUPPRESSED, audit_record
from ..cache import CacheUnusable
from ..configuration import Configuration
from ..dead_letters import DeadLetter, bury
from ..errors import where
from ..kafka import Message, Partition, header_of, partition_of
from ..loop import Outbox, Step
from ..metrics import FLOW_EVENTS, FLOW_WAITING
from ..rules import Flow, RuleBroken
from .decisions import Decision, Decisions
from .known import Known
from .route import Event, read_event
from .waiting import Item, Waiting

log = logging.getLogger(__name__)

CONSUMER = "flows"
_MOST_WAITING = 700  # of one partition: which of its records are held should fit into the metadata of its offset
_CROWDED = 250  # of one connection there: it gets letters then, before it holds up others
_LOOK_AGAIN_SECONDS = 0.5


class Flows(Step):
    """The step of the flows' loop."""

    def __init__(self, topics: Topics, known: Known) -> None:
        self._topics = topics
        self._known = known
        self._decisions = Decisions(known)
        self._configuration = Configuration.empty()
        self._waiting = Waiting()
        self._looked_at = (0, 0.0, 0.0)

    def configure(self, configuration: Configuration) -> None:
        """Takes a configuration over, from the next batch on. A flow that does not hold is left out and logged."""
        if configuration is self._configuration:
            return
        self._known.follow(configuration)
        flows = []
        for section in configuration.flows.values():
            try:
                flows.append(Flow(section, configuration))
            except RuleBroken as broken:
                log.error("flow %s does nothing: %s %s", section.id, ".".join(map(str, broken.path)), broken)
        self._decisions.configure(configuration, flows)
        self._configuration = configuration

    def event_topics(self) -> list[str]:
        """All topics of events, and that of redriven letters.

        Also those that no flow waits for: one that is added then begins with what happens from now on, and not with
        what its topic still holds.
        """
        return [*{self._topics.event(kind).name for kind in ENTITY_TYPES}, self._topics.retry(CONSUMER).name]

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self._waiting.drop(set(partitions))  # it comes again to whoever has the partition next

    def paused(self) -> Collection[str]:
        FLOW_WAITING.set(len(self._waiting))
        return [topic for topic in self.event_topics() if self._waiting.most(topic) >= _MOST_WAITING]

    def due(self) -> bool:
        """Whether something was learned, or time has passed, since what waits was last looked at."""
        if not self._waiting:
            return False
        version, ended, took = self._looked_at
        passed = time.monotonic() - ended
        return passed > 3 * took and (passed > _LOOK_AGAIN_SECONDS or self._known.version != version)

    def process(self, records: Sequence[Message], outbox: Outbox) -> None:
        self._known.check()
        version, began = self._known.version, time.monotonic()
        for item in self._waiting.settled(lambda item: self._settles(item, outbox)):
            outbox.finish(item.partition, item.offset)
        self._looked_at = (version, time.monotonic(), time.monotonic() - began)
        for message in records:
            if header_of(message, "ce_type") not in self._decisions.awaited:
                continue
            connection = header_of(message, "ce_connection") or ""
            item = Item(message, partition_of(message), int(message.offset() or 0), connection, began)
            if item.key in self._waiting or not self._settles(item, outbox):
                self._waiting.add(item)
                outbox.hold(item.partition, item.offset)

    def aborted(self) -> None:
        """Every record that is not finished comes again."""
        self._waiting.clear()
        self._decisions.forget()

    def _settles(self, item: Item, outbox: Outbox) -> bool:
        """Settles one event; False if it has to wait."""
        connection = "unknown"
        try:
            event = read_event(item.message)
            connection = event.connection
            decision = self._decisions.decide(event, item.since, self._crowded(item))
        except CacheUnusable:  # nothing is wrong with the event
            raise
        except Exception as error:  # whatever is wrong with one event must not stop everybody else's
            log.error("an event of %s cannot be routed: %s", connection, where(error))
            letter = DeadLetter("payload_malformed", where(error), "read")
            bury(item.message, letter, connection, CONSUMER, self._topics, outbox)
            return True
        if decision is None:
            return False
        self._do(decision, item, event, outbox)
        return True

    def _crowded(self, item: Item) -> bool:
        """Whether what waits must not wait for long: there is much of its connection, or others are held up."""
        of_connection = self._waiting.of(item.partition, item.connection)
        return of_connection >= _CROWDED or self._waiting.most(item.partition[0]) >= _MOST_WAITING

    def _do(self, decision: Decision, item: Item, event: Event, outbox: Outbox) -> None:
        if decision.taken_for is not None:
            _count(event, decision.taken_for, outbox)
        for flow, why in decision.suppressed:
            self._suppress(event, why, flow, outbox)
        for flow, letter in decision.letters:
            bury(item.message, letter, event.connection, CONSUMER, self._topics, outbox, flow.id)
        for command in decision.commands:
            outbox.put(self._topics.command(command.connection).name, command.value, command.key, command.headers)
            _count(event, "commanded", outbox)
            self._decisions.issued(event, command)

    def _suppress(self, event: Event, why: str, flow: Flow | None, outbox: Outbox) -> None:
        _count(event, "suppressed", outbox)
        facts = {
            "event": event.envelope.id,
            "outcome": "loop_suppressed",
            "why": why,
            "flow": flow.id if flow else None,
        }
        key, value, headers = audit_record(SUPPRESSED, event.connection, datetime.now(UTC), facts)
        outbox.put(self._topics.audit().name, value, key, headers)


def _count(event: Event, outcome: str, outbox: Outbox) -> None:
    outbox.when_committed(FLOW_EVENTS.labels(event.connection, outcome).inc)
