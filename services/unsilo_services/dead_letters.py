"""Dead letters: the original record byte for byte, and why it could not be processed in added `dl_` headers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from unsilo_schemas.envelope import timestamp
from unsilo_schemas.topics import Topics

from .kafka import Headers, Message, headers_of
from .loop import Outbox
from .metrics import DEAD

Reason = Literal[
    "payload_malformed", "size_exceeded", "source_unmapped", "schema_violation", "rule_violation", "budget_exhausted",
    "delivery_rejected", "delivery_timeout",
]  # fmt: skip
PREFIX = "dl_"
ATTEMPTS = "dl_attempts"  # how often it was tried, before a redrive and after
FIRST_AT = "dl_first_at"  # when it first failed
FLOW = "dl_flow"  # the flow that a letter of flows is about
REDRIVE_OF = "dl_redrive_of"  # on a record that was put back: topic, partition and offset of its letter


class DeadLetter(Exception):
    """A record cannot be processed. It is kept on `dead` with this reason and can be redriven once that is mended.

    `error` is for people and names places and types, never values; of what a sender wrote, only a plain event type.
    `attempts` is how often it was tried before that was said, `first_at` when it failed first; None: only now.
    """

    def __init__(
        self, reason: Reason, error: str, stage: str, attempts: int = 1, first_at: datetime | None = None
    ) -> None:
        super().__init__(f"{reason}: {error}")
        self.reason: Reason = reason
        self.error = error
        self.stage = stage
        self.attempts = attempts
        self.first_at = first_at


def bury(
    message: Message,
    letter: DeadLetter,
    connection: str,
    consumer: str,
    topics: Topics,
    outbox: Outbox,
    flow: str | None = None,
) -> None:
    """Puts a record aside, within the transaction at hand."""
    headers = letter_headers(message, letter, consumer, datetime.now(UTC))
    if flow is not None:
        headers.append((FLOW, flow.encode()))
    outbox.put(topics.dead(consumer).name, message.value(), message.key(), headers)
    outbox.when_committed(DEAD.labels(consumer, connection, letter.reason).inc)


def letter_headers(message: Message, letter: DeadLetter, consumer: str, at: datetime) -> list[tuple[str, bytes | None]]:
    """The original's headers and the facts of its failure. Facts of an earlier failure give way to the new ones.

    But that it failed before, and when it first did, are counted on.
    """
    headers = headers_of(message)
    before = {
        name: (value or b"").decode("ascii", "replace") for name, value in headers if name in (ATTEMPTS, FIRST_AT)
    }
    tried = before.get(ATTEMPTS, "")
    facts = {
        "dl_topic": str(message.topic()),
        "dl_partition": str(message.partition()),
        "dl_offset": str(message.offset()),
        "dl_consumer": consumer,
        "dl_stage": letter.stage,
        "dl_reason": letter.reason,
        "dl_error": letter.error[:1000],
        ATTEMPTS: str(letter.attempts + (int(tried) if tried.isdecimal() else 0)),
        FIRST_AT: before.get(FIRST_AT) or timestamp(letter.first_at or at),
        "dl_last_at": timestamp(at),
    }
    return [*original_headers(headers), *((name, text.encode()) for name, text in facts.items())]


def original_headers(headers: Headers) -> Sequence[tuple[str, bytes | None]]:
    """The headers that a record had before it failed; where it was redriven from stays."""
    return [(name, value) for name, value in headers if not name.startswith(PREFIX) or name == REDRIVE_OF]
