"""Every topic: name, key, partitions, retention, cleanup, size limit. Business systems need them too.

`<prefix>.<layer>.<domain>.<aggregate>.v<major>` for events, `<prefix>.<layer>.<rest>` for the hub's own. Only
`[a-z0-9.-]`: Kafka's metric names cannot tell a dot from an underscore. The number of a topic's partitions never
changes, because keys would move; a topic with another name takes its place.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from .catalogue import ENTITY_TYPES
from .entity import EntityType

RAW_PARTITIONS = 3
EVENT_PARTITIONS = 6
LEDGER_PARTITIONS = 6
CONSUMERS = ("normalizer", "flows", "delivery")
"""The services that share topics of work by partitions, each as one consumer group, and leave dead letters."""

MEBIBYTE = 1024 * 1024
RAW_BYTES = 4 * MEBIBYTE
EVENT_BYTES = 4 * MEBIBYTE
DEAD_BYTES = 6 * MEBIBYTE  # a dead letter is a raw record and the facts of its failure: none may be too large to post

NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it should be on the broker."""

    name: str
    key: str  # in words: what the record key is
    partitions: int
    cleanup: Literal["delete", "compact"]
    retention: timedelta | None  # None where compaction keeps the latest for ever
    max_bytes: int = EVENT_BYTES

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or len(self.name) > 249:  # Kafka's own limit on a topic's name
            raise ValueError(f"{self.name!r} is no topic name: use lower-case letters, digits, dots and hyphens")

    @property
    def config(self) -> dict[str, str]:
        """Kafka's topic configuration."""
        retention_ms = -1 if self.retention is None else int(self.retention.total_seconds() * 1000)
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(retention_ms),
            "max.message.bytes": str(self.max_bytes),
            # An event keeps the time of its delivery. A broker whose clock lies behind must not refuse it for that.
            "message.timestamp.after.max.ms": str(2**63 - 1),
        }


def owner_of(topic: str) -> str:
    """The connection, or the consumer, that a topic of its own ends with: neither has a dot, as a prefix may."""
    return topic.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one hub. The prefix tells hubs, and so tenants, apart."""

    prefix: str = "unsilo"

    def group(self, consumer: str) -> str:
        """The consumer group of a service."""
        return f"{self.prefix}.{consumer}"

    def raw(self, connection: str, partitions: int = RAW_PARTITIONS) -> Topic:
        """Deliveries of a connection as received, declared secrets masked."""
        name = self.raw_name(connection)
        return Topic(name, "canonical id of the aggregate", partitions, "delete", timedelta(days=14), RAW_BYTES)

    def raw_name(self, connection: str) -> str:
        """What the topic would be called, also where no connection can have that name."""
        return f"{self.prefix}.raw.{connection}"

    def event(self, kind: EntityType) -> Topic:
        """Events of an aggregate: one topic for all that must stay in order."""
        name = f"{self.prefix}.event.{kind.domain}.{kind.aggregate}.v{kind.version}"
        key = "aggregate at the target" if kind.key == "aggregate" else f"canonical id of the {kind.aggregate}"
        return Topic(name, key, EVENT_PARTITIONS, "delete", timedelta(days=90))

    def command(self, connection: str, partitions: int = RAW_PARTITIONS) -> Topic:
        """Intents to write to a connection's system, each with its idempotency key."""
        name = f"{self.prefix}.command.{connection}"
        return Topic(name, "aggregate at the target", partitions, "delete", timedelta(days=14))

    def ledger(self) -> Topic:
        """What the normalizer has published: ids, a record per transaction and raw partition."""
        name = f"{self.prefix}.ledger.normalizer"
        return Topic(name, "raw topic and partition", LEDGER_PARTITIONS, "delete", timedelta(days=14))

    def dead(self, consumer: str) -> Topic:
        """What a consumer could not process: value and headers byte for byte, and why."""
        name = f"{self.prefix}.dead.{consumer}"
        return Topic(name, "as the original", 1, "delete", timedelta(days=90), DEAD_BYTES)

    def retry(self, consumer: str) -> Topic:
        """Redriven letters of a consumer whose source others read too: they come back to it alone."""
        return Topic(f"{self.prefix}.retry.{consumer}", "as the original", 3, "delete", timedelta(days=14), DEAD_BYTES)

    def audit(self) -> Topic:
        """Refusals, suppressions, redrives and delays: ids and facts, no content."""
        return Topic(f"{self.prefix}.audit", "connection, or none", 1, "delete", timedelta(days=365))

    def config(self) -> Topic:
        """The hub's configuration, by kind and id; secrets by reference only."""
        return Topic(f"{self.prefix}.config", "kind/id", 1, "compact", None, MEBIBYTE)

    def fixed(self) -> list[Topic]:
        """Every topic that does not belong to a connection."""
        events = {topic.name: topic for topic in map(self.event, ENTITY_TYPES)}
        dead = [self.dead(consumer) for consumer in CONSUMERS]
        return [*events.values(), self.ledger(), *dead, self.retry("flows"), self.audit(), self.config()]
