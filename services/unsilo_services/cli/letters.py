"""The dead letters of a hub: which there are, why, and which were put back already."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, get_args

from unsilo_schemas.topics import CONSUMERS, owner_of

from ..dead_letters import ATTEMPTS, FIRST_AT, FLOW, REDRIVE_OF, Reason
from ..kafka import Message, headers_of, recorded_at
from .audit_trail import redriven
from .hub import Hub, Place, named, place_of, texts

REMEDIES: Mapping[Reason, str] = {
    "payload_malformed": "the body is not what its connector expects: look at it (`unsilo dead show ID --payload`)",
    "size_exceeded": "its event would be larger than its topic takes: have the vendor send less, or let it lie",
    "source_unmapped": "its connector knows no such event type: map it or declare it ignored, or apply the connection",
    "schema_violation": "the body lacks or breaks what its mapping needs: mend the mapping or the vendor's settings",
    "rule_violation": "the flow does not fit this event, or may not write there: mend unsilo.yaml and apply it",
    "budget_exhausted": "too many writes on one object: find out what answers the hub by itself before anything else",
    "delivery_rejected": "the system refused it for good: its error says why; mend secret, permission or arguments",
    "delivery_timeout": "the system did not take it for a day: see that it answers again",
}
_CLOCKS_DIFFER = timedelta(minutes=5)  # between the process that wrote a letter and the one that put it back


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter, without what it holds."""

    place: Place
    consumer: str
    connection: str
    reason: str
    stage: str
    error: str
    flow: str | None
    origin: Place
    died_at: datetime
    attempts: int
    first_at: str
    redrive_of: str | None
    bytes: int
    id: str
    """As people write it: consumer, partition and offset."""
    redriven_at: datetime | None = None

    @property
    def row(self) -> dict[str, Any]:
        """What a list says of it."""
        return {
            "id": self.id,
            "died_at": self.died_at,
            "connection": self.connection,
            "reason": self.reason,
            "redriven_at": self.redriven_at,
            "error": self.error if self.flow is None else f"flow {self.flow}: {self.error}",
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are asked for. What is None does not matter."""

    reason: str | None = None
    connection: str | None = None
    consumer: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, letter: Letter) -> bool:
        return (
            self.reason in (None, letter.reason)
            and self.connection in (None, letter.connection)
            and self.consumer in (None, letter.consumer)
            and (self.since is None or letter.died_at >= self.since)
            and (self.until is None or letter.died_at <= self.until)
        )


def reasons() -> tuple[str, ...]:
    """Every reason that a letter may have."""
    return get_args(Reason)


def letters(hub: Hub, wanted: Wanted) -> list[Letter]:
    """The letters that are asked for, the oldest first, each with when it was put back, if it was."""
    found: list[Letter] = []

    def take(message: Message) -> None:
        letter = letter_of(hub, message)
        if letter in wanted:
            found.append(letter)

    consumers = CONSUMERS if wanted.consumer is None else [wanted.consumer]
    hub.read([hub.topics.dead(consumer).name for consumer in consumers], wanted.since, take)
    return marked(hub, sorted(found, key=lambda letter: (letter.died_at, letter.place)))


def marked(hub: Hub, found: list[Letter]) -> list[Letter]:
    """The letters, each with when it was put back."""
    if not found:
        return found
    back = redriven(hub, min(letter.died_at for letter in found) - _CLOCKS_DIFFER)
    return [replace(letter, redriven_at=back.get(named(letter.place))) for letter in found]


def letter_of(hub: Hub, message: Message) -> Letter:
    """A letter from its record."""
    headers = texts(headers_of(message))
    place = place_of(message)
    consumer = owner_of(place[0])
    return Letter(
        place=place,
        consumer=consumer,
        connection=_connection(hub, headers),
        reason=headers.get("dl_reason", ""),
        stage=headers.get("dl_stage", ""),
        error=headers.get("dl_error", ""),
        flow=headers.get(FLOW),
        origin=(headers.get("dl_topic", ""), _number(headers.get("dl_partition")), _number(headers.get("dl_offset"))),
        died_at=recorded_at(message),
        attempts=_number(headers.get(ATTEMPTS)),
        first_at=headers.get(FIRST_AT, ""),
        redrive_of=headers.get(REDRIVE_OF),
        bytes=len(message.value() or b""),
        id=f"{consumer}/{place[1]}/{place[2]}",
    )


def parsed(hub: Hub, text: str) -> Place | None:
    """The place of a letter as people write it: `normalizer/0/17`, or with the whole name of the topic."""
    parts = text.split("/")
    if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        return None
    topic = hub.topics.dead(parts[0]).name if parts[0] in CONSUMERS else parts[0]
    return topic, int(parts[1]), int(parts[2])


def _connection(hub: Hub, headers: Mapping[str, str]) -> str:
    """By the topic that it failed on; that of flows belongs to no connection, so there it is the event's."""
    topic = headers.get("dl_topic", "")
    for layer in ("raw", "command"):
        if topic.startswith(f"{hub.topics.prefix}.{layer}."):
            return owner_of(topic)
    return headers.get("ce_connection", "")


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else -1
