"""Puts dead letters back where they failed: the original record, byte for byte, and what was done on `audit`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..audit import REDRIVEN, audit_record
from ..dead_letters import ATTEMPTS, FIRST_AT, FLOW, REDRIVE_OF, original_headers
from ..errors import UnsiloError
from ..kafka import FENCING, Headers, KafkaException, Message, headers_of, recorded_at
from .hub import Hub, Place, named, place_of
from .letters import Letter

_RAW = "normalizer"  # its letters are raw records
_TRANSACTION_SECONDS = 30
_MOST_LETTERS = 500  # of one transaction
_MOST_BYTES = 16 * 1024 * 1024
_OLDEST = timedelta(days=7)
"""How old a record may be made to look: half of what a raw topic keeps, so that it is read before it is deleted."""


class RedriveOvertaken(UnsiloError):
    """Another redrive began. What was not put back by then is left to it."""


@dataclass(frozen=True, slots=True)
class Return:
    """A letter and the topic that it goes back to, or why it does not."""

    letter: Letter
    topic: str
    obstacle: str | None = None


def planned(hub: Hub, letters: Iterable[Letter], again: bool) -> list[Return]:
    """Where letters would go back to. Flows' letters to their own topic: others read the event too, and have had it."""
    plan = []
    for letter in letters:
        topic = hub.topics.retry(letter.consumer).name if letter.consumer == "flows" else letter.origin[0]
        obstacle = None
        if letter.redriven_at is not None and not again:
            obstacle = "was put back already: --again does it once more"
        elif topic not in hub.partitions:
            obstacle = "its topic is gone: apply its connection again first"
        plan.append(Return(letter, topic, obstacle))
    return plan


class Redrive:
    """One operator at work. Begun before letters are chosen: then what an earlier one committed is seen, and whoever
    begins later takes over, so that no two of them put the same letter back.
    """

    def __init__(self, hub: Hub) -> None:
        """Raises KafkaException."""
        self._hub = hub
        self._producer = hub.kafka.producer(
            transactional_id=f"{hub.topics.prefix}.redrive",
            transaction_timeout_ms=_TRANSACTION_SECONDS * 1000,
            message_max_bytes=12_000_000,
        )
        self._producer.init_transactions(_TRANSACTION_SECONDS)

    def put_back(self, plan: Sequence[Return]) -> Iterator[int]:
        """Puts letters back, some at a time, and says how many each time. Raises KafkaException, RedriveOvertaken."""
        topics = {item.letter.place: item for item in plan}
        arrivals = _arrivals(self._hub, [item.letter for item in plan])
        batch: list[Message] = []
        size = 0
        for message in self._hub.at(topics):
            batch.append(message)
            size += len(message.value() or b"")
            if len(batch) == _MOST_LETTERS or size > _MOST_BYTES:
                yield self._commit(batch, topics, arrivals)
                batch, size = [], 0
        if batch:
            yield self._commit(batch, topics, arrivals)

    def _commit(
        self, batch: Sequence[Message], plan: Mapping[Place, Return], arrivals: Mapping[Place, datetime]
    ) -> int:
        self._producer.begin_transaction()
        try:
            self._fill(batch, plan, arrivals)
            self._producer.commit_transaction(_TRANSACTION_SECONDS)
        except KafkaException as error:
            if error.args[0].code() in FENCING:
                raise RedriveOvertaken(
                    "another redrive has begun meanwhile and does the rest: see `unsilo dead list`"
                ) from error
            self._abort()
            raise
        except BaseException:  # Ctrl-C: an open transaction would hold up every reader until it times out
            self._abort()
            raise
        return len(batch)

    def _fill(self, batch: Sequence[Message], plan: Mapping[Place, Return], arrivals: Mapping[Place, datetime]) -> None:
        now = datetime.now(UTC)
        for message in batch:
            item = plan[place_of(message)]
            letter = item.letter
            at = max(arrivals.get(letter.origin, letter.died_at), now - _OLDEST) if letter.consumer == _RAW else now
            self._put(item.topic, message.value(), message.key(), _headers(message), at)
            facts = {
                "letter": named(letter.place), "reason": letter.reason, "consumer": letter.consumer,
                "to": item.topic, "flow": letter.flow,
            }  # fmt: skip
            key, value, headers = audit_record(REDRIVEN, letter.connection or None, now, facts)
            self._put(self._hub.topics.audit().name, value, key, headers, now)

    def _abort(self) -> None:
        with suppress(KafkaException):
            self._producer.abort_transaction(_TRANSACTION_SECONDS)

    def _put(self, topic: str, value: bytes | None, key: bytes | None, headers: Headers, at: datetime) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, headers=list(headers), timestamp=int(at.timestamp() * 1000))
                return
            except BufferError:
                self._producer.poll(0.1)


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    """The original's, the flow that failed (the others have run), how often it was tried, and which letter this is."""
    found = headers_of(message)
    kept = [(name, value) for name, value in original_headers(found) if name != REDRIVE_OF]
    facts = [(name, value) for name, value in found if name in (FLOW, ATTEMPTS, FIRST_AT)]
    return [*kept, *facts, (REDRIVE_OF, named(place_of(message)).encode())]


def _arrivals(hub: Hub, letters: Iterable[Letter]) -> dict[Place, datetime]:
    """When the hub had the originals of raw records, as far as they are kept: that time is part of the record.

    An event says it in its headers; a command is given anew, now.
    """
    raw = {letter.origin for letter in letters if letter.consumer == _RAW}
    return {place_of(message): recorded_at(message) for message in hub.at(raw)}
