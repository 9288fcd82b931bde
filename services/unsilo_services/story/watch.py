"""Reads along on the hub's topics and tells when something was seen there."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from unsilo_schemas.envelope import Envelope

from ..kafka import OFFSET_END, Kafka, Message, TopicPartition, header_of, headers_of


@dataclass(frozen=True, slots=True)
class Seen:
    """One record, as a reader of committed records saw it. `at` is on the monotonic clock."""

    layer: str  # raw, event, command, dead or audit
    at: float
    connection: str  # of a dead letter, whose it is: the consumer's
    type: str
    id: str
    causation: str
    data: Any


class Watch:
    """Follows topics from where they end now, in a thread of its own."""

    def __init__(self, kafka: Kafka, topics: Iterable[str], prefix: str) -> None:
        self._kafka = kafka
        self._prefix = prefix
        self._topics = list(topics)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)
        self.seen: list[Seen] = []

    def start(self) -> None:
        """Returns when every topic is followed from its end."""
        partitions = [
            TopicPartition(topic, number, OFFSET_END)
            for topic in self._topics
            for number in range(self._kafka.partitions(topic))
        ]
        ends = self._kafka.end_offsets(partitions)
        self._starts = [TopicPartition(*where, end) for where, end in ends.items()]
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join(5)

    def wait(self, true: Callable[[Seen], bool], seconds: float = 20.0, since: int = 0) -> Seen | None:
        """The first record, of those from number `since` on, of which this is true; None if none comes in time."""
        end = time.monotonic() + seconds
        number = since
        with self._changed:
            while True:
                while number < len(self.seen):
                    if true(self.seen[number]):
                        return self.seen[number]
                    number += 1
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def _follow(self) -> None:
        consumer = self._kafka.consumer(fetch_wait_max_ms=10)
        consumer.assign(self._starts)
        while not self._stop.is_set():
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                seen = self._read(message)
                with self._changed:
                    self.seen.append(seen)
                    self._changed.notify_all()
        consumer.close()

    def _read(self, message: Message) -> Seen:
        topic = str(message.topic()).removeprefix(self._prefix + ".")
        layer, _, rest = topic.partition(".")
        if layer in ("raw", "dead"):
            reason = header_of(message, "dl_reason") or ""
            return Seen(layer, time.monotonic(), rest, reason, "", "", None)
        envelope = Envelope.from_headers(headers_of(message))
        data = json.loads(message.value() or b"null")
        return Seen(
            layer,
            time.monotonic(),
            envelope.connection or "",
            envelope.type,
            envelope.id,
            envelope.causationid or "",
            data,
        )
