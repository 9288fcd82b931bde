"""Notices clients that will never reach Kafka again, though it is there.

While a KRaft broker is fenced (it stood still for longer than its heartbeat may be late), it can answer a client that
the cluster has no brokers at all. librdkafka 2.16 then forgets those that it knew and looks for no other
(confluentinc/librdkafka#5301), or finds it again and never goes back to its consumer group. Its way out of that,
`metadata.recovery.strategy=rebootstrap`, loses a group's coordinator when the broker is started anew, and at times ends
the process by an assertion. So whoever is stranded says so and ends, and is started anew.
"""

import logging
import os
import signal
import threading
from collections.abc import Mapping
from typing import Protocol

from .errors import UnsiloError
from .kafka import Kafka, KafkaException, KafkaUnavailable, Partition

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 3.0
_END_SECONDS = 60.0  # so long may an orderly end take: a client that is lost may never let go
_LOOKS = 2  # so often in a row a client has to fail where another one does not
_LOOKS_OUTSIDE = 6  # so often in a row a member is none in the broker's eyes: it may be about to join


class KafkaLost(UnsiloError):
    """A client has lost every broker for good. The process ends with it, and whoever started it starts it anew."""


class Member(Protocol):
    """Whoever works as a member of a consumer group."""

    group: str
    client_id: str

    def wants_a_place(self) -> bool:
        """Whether it has something to read for which it needs one."""


class Reader(Protocol):
    """Whoever reads partitions to their ends, without a group."""

    @property
    def positions(self) -> Mapping[Partition, int]:
        """Which offset of each partition it expects next."""


class StrandedWatch:
    """Looks after a process's AdminClient, its place in its group, and its readers, from a thread of its own.

    Its consumers and producers are not asked themselves: a call from another thread waits for those of their own.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._failed = 0
        self._member: Member | None = None
        self._outside = 0
        self._readers: list[Reader] = []
        self._standing: dict[tuple[int, Partition], tuple[int, int]] = {}  # by reader: where, and for how many looks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stranded", daemon=True)
        self.failure: KafkaLost | None = None

    def start(self) -> None:
        """Starts the thread. Once a client is stranded, the process is sent SIGTERM, and `failure` says why."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()

    def watch_member(self, member: Member) -> None:
        """Looks after a place in a group, too."""
        self._member = member

    def watch_reader(self, reader: Reader) -> None:
        """Looks after a reader, too."""
        self._readers.append(reader)

    def look(self) -> bool:
        """Looks once; whether a client is stranded by now."""
        return self._lost_brokers() or self._lost_group() or self._lost_place()

    def _lost_place(self) -> bool:
        """A reader stands still, look after look, before the end of what it reads."""
        standing: dict[tuple[int, Partition], tuple[int, int]] = {}
        try:
            for number, reader in enumerate(self._readers):
                positions = reader.positions
                ends = self._kafka.end_offsets(self._kafka.existing(positions), committed=True)
                for at, end in ends.items():
                    if positions[at] < end:
                        offset, looks = self._standing.get((number, at), (-1, 0))
                        standing[number, at] = positions[at], looks + 1 if offset == positions[at] else 0
        except KafkaException:
            return False
        self._standing = standing
        return any(looks >= _LOOKS_OUTSIDE for _, looks in standing.values())

    def _lost_group(self) -> bool:
        """Asks the broker: a consumer that has lost its group for good does not even answer what it is called there."""
        if self._member is None or not self._member.wants_a_place():
            return False
        try:
            inside = self._member.client_id in self._kafka.group(self._member.group).clients
        except KafkaException:
            return False
        self._outside = 0 if inside else self._outside + 1
        return self._outside >= _LOOKS_OUTSIDE

    def _lost_brokers(self) -> bool:
        failed = not _answers(self._kafka) and _answers(Kafka(self._kafka.options))  # a client of its own
        self._failed = self._failed + 1 if failed else 0
        return self._failed >= _LOOKS

    def _looks(self) -> bool:
        try:
            return self.look()
        except Exception:  # a watch that ends would be missed by nobody
            log.exception("whether Kafka is lost cannot be told; that is tried again")
            return False

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            if self._looks():
                self.failure = KafkaLost(
                    f"a client has lost Kafka at {self._kafka.bootstrap} for good, or its place there: the "
                    "process ends, and is started anew by whatever keeps it running",
                    "confluentinc/librdkafka#5301",
                )
                log.error("%s", self.failure.operator)
                os.kill(os.getpid(), signal.SIGTERM)
                if not self._stop.wait(_END_SECONDS):
                    log.error("it does not end by itself and is ended")
                    os._exit(1)
                return


def _answers(kafka: Kafka) -> bool:
    try:
        kafka.wait(_ANSWER_SECONDS)
    except KafkaUnavailable:
        return False
    return True
