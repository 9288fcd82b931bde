"""Stores raw records and tells when Kafka has them: acks=all, as something to await."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from ..kafka import Headers, Kafka, KafkaError, KafkaException, Message
from .doors import RawRecord

Told = Callable[[KafkaError | None, Message], None]

_TICK_SECONDS = 0.001
_GIVEN_UP_MS = 15_000  # what was not stored by then was answered 503 long ago, and is sent again
_BREAKING = (
    KafkaError._FATAL,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)


class NotStored(Exception):
    """Kafka did not take a record. The sender is told to send it again; what came through of it is deduplicated."""


class Store:
    """A producer whose acknowledgements arrive in the event loop. Used from the loop's thread only.

    The loop polls librdkafka every millisecond while something is in flight, which costs less than a thread that wakes
    it once for each acknowledgement. `broken` says that librdkafka gave the producer up, that a topic is missing, or
    that a record timed out in it, as all do where it has lost Kafka for good (stranded.py) or a topic was just deleted:
    whoever still waits for it is answered 503 in time. Then topics have to be created, and another Store has to take
    its place.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._producer = kafka.producer(
            linger_ms=1,
            message_timeout_ms=_GIVEN_UP_MS,
            message_max_bytes=4 * 1024 * 1024,
            queue_buffering_max_kbytes=128 * 1024,
            retry_backoff_ms=50,
        )
        self.broken = False
        self._in_flight = 0
        self._ticking = False

    def store(self, records: Sequence[RawRecord], at: datetime) -> "asyncio.Future[None]":
        """A future that is done when all records are stored; NotStored as soon as one is not."""
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[None] = loop.create_future()
        missing = len(records)
        if not records:
            stored.set_result(None)
            return stored

        def delivered(error: KafkaError | None, message: Message) -> None:
            nonlocal missing
            self._landed(error, message)
            missing -= 1
            if stored.done():
                return
            if error is not None:
                stored.set_exception(NotStored(error.str()))
            elif missing == 0:
                stored.set_result(None)

        timestamp = int(at.timestamp() * 1000)
        for record in records:
            try:
                self._produce(record.topic, record.value, record.key, record.headers, timestamp, delivered)
            except BufferError:
                stored.set_exception(NotStored("the producer's queue is full"))
                return stored
            except KafkaException as error:
                stored.set_exception(NotStored(error.args[0].str()))
                return stored
        return stored

    def note(self, topic: str, key: bytes | None, value: bytes, headers: Headers) -> None:
        """Sends a record that nobody waits for. Lost if Kafka is away for long: evidence must not cost a delivery."""
        try:
            self._produce(topic, value, key, headers, 0, self._landed)
        except (BufferError, KafkaException):
            return

    def flush(self, seconds: float) -> int:
        """Waits for what is in flight, and says how much of it is left after that many seconds."""
        return int(self._producer.flush(seconds))

    def _produce(
        self, topic: str, value: bytes, key: bytes | None, headers: Headers, timestamp: int, told: Told
    ) -> None:
        try:
            self._producer.produce(topic, value, key, on_delivery=told, timestamp=timestamp, headers=list(headers))
        except KafkaException as error:
            self.broken = self.broken or error.args[0].code() in _BREAKING
            raise
        self._in_flight += 1
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _landed(self, error: KafkaError | None, message: Message) -> None:
        """A record is through, or never will be."""
        self._in_flight -= 1
        if error is not None and error.code() in _BREAKING:
            self.broken = True

    def _tick(self) -> None:
        try:
            self._producer.poll(0)
        except (KafkaException, SystemError):  # only what is fatal is raised; the latter where it meets our callback
            self.broken = True
            return
        if self._in_flight:
            asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)
        else:
            self._ticking = False
