"""A batch of commands: hold each, hand it to the lanes once that is committed, and commit what came of it.

So nothing is called before Kafka knows that it may have been, and a command is doubled only where its result could not
be committed any more.
"""

import logging
import queue
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial

from pydantic import ValidationError
from unsilo_connectors.payloads import describe
from unsilo_schemas.link import LINK
from unsilo_schemas.topics import Topics, owner_of

from ..audit import POSTPONED, RESUMED, audit_record
from ..configuration import Configuration
from ..dead_letters import DeadLetter, bury
from ..kafka import Message, Partition, partition_of
from ..loop import Outbox, Step
from ..metrics import DELIVERIES, DELIVERY_WAITING, END_TO_END_SECONDS
from .delays import Delay
from .jobs import Job, Order, job_of, read_order
from .lanes import Lanes
from .mirrors import mirror_link
from .outcomes import Outcome

log = logging.getLogger(__name__)

CONSUMER = "delivery"
_MOST_WAITING = 500  # of one connection
_DRAIN_SECONDS = 15.0

Place = tuple[Partition, int]


class Delivery(Step):
    """The step of delivery's loop."""

    def __init__(self, topics: Topics, lanes: Lanes) -> None:
        self._topics = topics
        self._lanes = lanes
        self._configuration = Configuration.empty()
        self._running: dict[Place, Order] = {}
        self._accepted: list[Place] = []  # held by the transaction at hand, and not handed over yet
        self._settled: queue.SimpleQueue[tuple[Place, Order, Outcome]] = queue.SimpleQueue()
        self._outcomes: dict[Place, Outcome] = {}
        self._delays: list[Delay] = []  # put into the transaction at hand, or to be

    def configure(self, configuration: Configuration) -> None:
        """Takes a configuration over: for what is taken up from now on, and for each attempt that is still to come."""
        if configuration is self._configuration:
            return
        before, now = self._configuration.connections, configuration.connections
        self._configuration = configuration
        self._lanes.start_afresh([name for name, section in before.items() if now.get(name, section) != section])
        for name in before.keys() - now.keys():  # its partitions are given back, and what waits stays on them
            DELIVERY_WAITING.remove(name)

    def command_topics(self) -> list[str]:
        """The command topics of the connections that can be written to."""
        return [self._topics.command(name).name for name in self._configuration.writable]

    def revoking(self, partitions: Sequence[Partition]) -> None:
        lost = set(partitions)
        self._lanes.drain([place for place in self._running if place[0] in lost], _DRAIN_SECONDS)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        lost = set(partitions)
        for place in [place for place in self._running if place[0] in lost]:
            del self._running[place]
            self._outcomes.pop(place, None)

    def paused(self) -> Collection[str]:
        waiting = Counter(partition[0] for partition, _ in self._running)
        for topic in self.command_topics():
            DELIVERY_WAITING.labels(owner_of(topic)).set(waiting[topic])
        return [topic for topic, count in waiting.items() if count >= _MOST_WAITING]

    def due(self) -> bool:
        return bool(self._outcomes or self._delays) or not (self._settled.empty() and self._lanes.delays.empty())

    def process(self, records: Sequence[Message], outbox: Outbox) -> None:
        while not self._settled.empty():
            place, order, outcome = self._settled.get()
            if self._running.get(place) is order:  # else its partition was given back meanwhile
                self._outcomes[place] = outcome
        for place, outcome in list(self._outcomes.items()):
            order = self._running[place]
            if outbox.finished(*place):
                del self._outcomes[place], self._running[place]
                continue
            self._settle(order, outcome, outbox)
            outbox.finish(*place)
        self._note(outbox)
        for message in records:
            place = (partition_of(message), int(message.offset() or 0))
            if place in self._outcomes:
                continue
            if place in self._running:
                outbox.hold(*place)
            else:
                self._take_up(place, message, outbox)

    def committed(self) -> None:
        for place in self._outcomes:
            del self._running[place]
        self._outcomes.clear()
        self._delays.clear()
        for place in self._accepted:
            order = self._running[place]
            self._lanes.submit(place, order, self._job, self._teller(place, order))
        self._accepted.clear()

    def aborted(self) -> None:
        """What was taken up and not handed over comes again; what runs goes on, and its outcome is put again."""
        for place in self._accepted:
            del self._running[place]
        self._accepted.clear()

    def _job(self, order: Order) -> Job:
        """Called from the lanes' thread."""
        return job_of(order, self._configuration)

    def _teller(self, place: Place, order: Order) -> Callable[[Outcome], None]:
        return lambda outcome: self._settled.put((place, order, outcome))

    def _take_up(self, place: Place, message: Message, outbox: Outbox) -> None:
        try:
            order = read_order(message, outbox.again(*place))
        except ValueError as error:
            why = describe(error) if isinstance(error, ValidationError) else "its key or a header is not UTF-8"
            self._bury(message, "unknown", DeadLetter("payload_malformed", why, "read"), outbox)
            return
        outbox.hold(*place)
        self._running[place] = order
        self._accepted.append(place)

    def _note(self, outbox: Outbox) -> None:
        """Why commands wait, and that they go on, for whoever asks the hub and not its logs."""
        while not self._lanes.delays.empty():
            self._delays.append(self._lanes.delays.get())
        for delay in self._delays:
            type, facts = (RESUMED, {}) if delay.why is None else (POSTPONED, {"why": delay.why})
            key, value, headers = audit_record(type, delay.connection, delay.at, facts)
            outbox.put(self._topics.audit().name, value, key, headers)

    def _settle(self, order: Order, outcome: Outcome, outbox: Outbox) -> None:
        if isinstance(outcome, DeadLetter):
            self._bury(order.message, order.connection, outcome, outbox)
            log.warning("a command for %s ended: %s", order.connection, outcome.error)
            return
        outbox.when_committed(DELIVERIES.labels(order.connection, "done").inc)
        if (since := order.envelope.recordedtime) is not None:
            took = END_TO_END_SECONDS.labels(order.connection)
            outbox.when_committed(partial(took.observe, (datetime.now(UTC) - since).total_seconds()))
        if outcome.written:
            value, headers = mirror_link(order, outcome.system, outcome.written, self._configuration.hub.public_url)
            outbox.put(self._topics.event(LINK).name, value, order.message.key(), headers)

    def _bury(self, message: Message, connection: str, letter: DeadLetter, outbox: Outbox) -> None:
        bury(message, letter, connection, CONSUMER, self._topics, outbox)
        outbox.when_committed(DELIVERIES.labels(connection, letter.reason).inc)
