"""A batch of raw records: map each, drop what was published before, put the rest into one transaction."""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import groupby

from pydantic import ValidationError
from unsilo_schemas.topics import Topics

from ..configuration import Configuration, ConnectionSection, connection_of, connector_of
from ..dead_letters import DeadLetter, Reason, bury
from ..kafka import KafkaError, Message, Partition, headers_of, partition_of
from ..loop import Outbox, Step
from ..metrics import EVENTS, RECORDS
from ..raw_records import facts_of, read_raw
from .ledger import Ledger
from .normalize import Mapping, Published, delivery_id

log = logging.getLogger(__name__)

CONSUMER = "normalizer"
_CHUNK_RECORDS = 250  # mapped and put before the next: what a whole batch makes fits into no cache


class Normalizer(Step):
    """The step of the normalizer's loop."""

    def __init__(self, topics: Topics, ledger: Ledger) -> None:
        self._topics = topics
        self._ledger = ledger
        self._configuration = Configuration.empty()
        self._mappings: dict[str, Mapping] = {}  # by raw topic

    def configure(self, configuration: Configuration) -> None:
        """Takes a configuration over, from the next batch on. What a connection waits for meanwhile stays on `raw`."""
        if configuration is not self._configuration:
            self._configuration = configuration
            self._mappings = {}
            for section in configuration.connections.values():
                try:
                    mapping = self._mapping(section, configuration.hub.public_url)
                except ValidationError:
                    log.error("connection %s waits: its settings do not hold: run `unsilo check`", section.id)
                else:
                    self._mappings[self._topics.raw(section.id).name] = mapping

    def raw_topics(self) -> list[str]:
        """The raw topics of the configured connections."""
        return list(self._mappings)

    def assigned(self, partitions: Sequence[Partition]) -> None:
        self._ledger.restore(partitions)  # those that go stay in the cache: it is read on from there

    def process(self, records: Sequence[Message], outbox: Outbox) -> None:
        fresh: dict[Partition, list[bytes]] = {}
        seen: set[bytes] = set()
        for partition, run in groupby(records, partition_of):
            together = list(run)
            ids = fresh.setdefault(partition, [])
            for start in range(0, len(together), _CHUNK_RECORDS):
                self._process(partition[0], together[start : start + _CHUNK_RECORDS], outbox, seen, ids)
        for partition, ids in fresh.items():
            self._ledger.record(partition, ids, outbox)

    def _process(
        self, topic: str, records: Sequence[Message], outbox: Outbox, seen: set[bytes], fresh: list[bytes]
    ) -> None:
        """A part of a batch. `seen` are the ids that were published before, or in this batch; `fresh` the latter."""
        mapping = self._mappings.get(topic)
        connection = "unknown" if mapping is None else mapping.connection.id
        work = [_outcome(mapping, message) for message in records]
        found = [_ids(delivery, events) if isinstance(events, list) else [] for delivery, events in work]
        seen |= self._ledger.known([id for ids in found for id in ids])
        published = duplicates = ignored = 0
        types: list[str] = []
        for message, (delivery, outcome), ids in zip(records, work, found, strict=True):
            if isinstance(outcome, DeadLetter):
                self._bury(message, outcome, connection, outbox)
                continue
            if outcome is None:
                ignored += 1
                continue
            if not seen.isdisjoint(ids):  # one of its events may still be new, unless it is the same delivery
                outcome = [] if delivery in seen else [event for event in outcome if event.id not in seen]
                if not outcome:
                    duplicates += 1
                    continue
                ids = _ids(delivery, outcome)
            timestamp_ms = message.timestamp()[1]
            for event in outcome:
                outbox.put(event.topic, event.value, event.key, event.headers, timestamp_ms=timestamp_ms)
                types.append(event.type)
            published += 1
            seen.update(ids)
            fresh += ids
        outcomes = {"published": published, "duplicate": duplicates, "ignored": ignored}
        for name, count in outcomes.items():
            if count:
                outbox.when_committed(partial(RECORDS.labels(connection, name).inc, count))
        for kind, count in Counter(types).items():
            outbox.when_committed(partial(EVENTS.labels(connection, kind).inc, count))

    def refused(self, record: Message, fault: KafkaError, outbox: Outbox) -> None:
        reason: Reason = "size_exceeded" if fault.code() == KafkaError.MSG_SIZE_TOO_LARGE else "payload_malformed"
        letter = DeadLetter(reason, f"Kafka does not take the event: {fault.name()}", "encode")
        mapping = self._mappings.get(partition_of(record)[0])
        self._bury(record, letter, "unknown" if mapping is None else mapping.connection.id, outbox)

    def _bury(self, record: Message, letter: DeadLetter, connection: str, outbox: Outbox) -> None:
        bury(record, letter, connection, CONSUMER, self._topics, outbox)
        outbox.when_committed(RECORDS.labels(connection, "dead").inc)

    def committed(self) -> None:
        self._ledger.committed()

    def aborted(self) -> None:
        self._ledger.aborted()

    def _mapping(self, section: ConnectionSection, public_url: str) -> Mapping:
        return Mapping(connector_of(section), connection_of(section), self._topics, public_url)


def _outcome(mapping: Mapping | None, message: Message) -> tuple[bytes | None, list[Published] | DeadLetter | None]:
    """The id of the delivery, if it has one, and what becomes of it: events, a dead letter, or None if ignored."""
    if mapping is None:
        return None, DeadLetter("source_unmapped", "its connection is not configured any more", "map")
    headers = headers_of(message)
    connector, key, trace = facts_of(headers)
    if connector != mapping.connector_name and connector is not None:
        now = mapping.connector.name
        return None, DeadLetter(
            "source_unmapped", f"another connector took it in than {now}, which is there now", "map"
        )
    try:
        events = mapping.normalize(read_raw(mapping.connection, message, headers), trace)
    except DeadLetter as letter:
        return None, letter
    except (ValueError, OverflowError, OSError):
        return None, DeadLetter("payload_malformed", "its timestamp is none", "decode")
    return None if key is None else delivery_id(mapping.connection.id, key), events


def _ids(delivery: bytes | None, events: Sequence[Published]) -> list[bytes]:
    ids = [event.id for event in events]
    return ids if delivery is None else [delivery, *ids]
