"""What the hub has written where, from the `link` topic: by it an echo is known, and an object's copy is found.

Every worker follows the whole topic, because an event meets links of any aggregate. RocksDB on local disk holds them,
with the offsets up to which it is current; it may be deleted at any time.
"""

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocksdict import Options, Rdict, WriteBatch
from unsilo_schemas.link import Link, Story
from unsilo_schemas.topics import Topic

from ..kafka import OFFSET_BEGINNING, Kafka, KafkaError, Message, TopicPartition

log = logging.getLogger(__name__)

_KEPT_WRITES = 20  # of one object: an echo comes within seconds of its write


@dataclass(frozen=True, slots=True)
class Write:
    """One write of the hub to an object. `fields` are what it touched; None says that it created the object."""

    at_ms: int
    fields: frozenset[str] | None
    story: Story


class Links:
    """The table of links. Written by its own thread, read by the loop's."""

    def __init__(self, kafka: Kafka, topic: Topic, folder: Path) -> None:
        self._kafka = kafka
        self._topic = topic
        folder.parent.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_max_open_files(64)
        self._store = Rdict(str(folder), options)
        self._stop = threading.Event()
        self._read = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="links", daemon=True)
        self.version = 0
        """Grows with every link that arrives: what could not be decided before may be decided now."""

    def start(self, seconds: float = 120) -> None:
        """Returns when all links that there are have been read; TimeoutError if that takes too long."""
        self._thread.start()
        if not self._read.wait(seconds):
            raise TimeoutError(f"the links on {self._topic.name} could not be read within {seconds:.0f} s")

    def stop(self) -> None:
        """Ends the thread and closes the table."""
        self._stop.set()
        self._thread.join(5)
        self._store.close()

    def writes(self, object_id: str) -> list[Write]:
        """The latest writes of the hub to an object, the newest last."""
        found = self._store.get(b"w:" + object_id.encode())
        return [] if found is None else [_write(item) for item in json.loads(found)]

    def twin(self, object_id: str, connection: str) -> Mapping[str, Any] | None:
        """Where an object's copy, or its original, lives in a connection."""
        found = self._store.get(f"t:{object_id}/{connection}".encode())
        return None if found is None else dict(json.loads(found))

    def _follow(self) -> None:
        consumer = self._kafka.consumer(enable_partition_eof=True, fetch_wait_max_ms=20)
        numbers = range(self._topic.partitions)
        consumer.assign([TopicPartition(self._topic.name, number, self._checkpoint(number)) for number in numbers])
        behind = set(numbers)
        while not self._stop.is_set():
            for message in consumer.consume(500, 0.05):
                error = message.error()
                if error is None:
                    self._take(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    behind.discard(int(message.partition() or 0))
            if not behind:
                self._read.set()
        consumer.close()

    def _take(self, message: Message) -> None:
        batch = WriteBatch(raw_mode=True)
        try:
            link = Link.model_validate(json.loads(message.value() or b"")["entity"])
        except (ValueError, KeyError):
            log.error("a link at offset %s cannot be read by this version", message.offset())
        else:
            self._enter(batch, link, message.timestamp()[1])
        position = int(message.offset() or 0) + 1
        batch.put(f"o:{message.partition()}".encode(), str(position).encode())
        self._store.write(batch)
        self.version += 1

    def _enter(self, batch: WriteBatch, link: Link, at_ms: int) -> None:
        for wrote in link.wrote:
            key = b"w:" + wrote.id.encode()
            known: list[Any] = json.loads(self._store.get(key) or b"[]")
            entry = {"at": at_ms, "fields": wrote.fields, "story": link.story.model_dump(), "command": link.command}
            known = [item for item in known if item["command"] != link.command]
            batch.put(key, json.dumps([*known, entry][-_KEPT_WRITES:]).encode())
        for here, there in ((link.left, link.right), (link.right, link.left)):
            ref = there.ref.model_dump(exclude_unset=True)
            batch.put(f"t:{here.id}/{there.ref.connection}".encode(), json.dumps(ref).encode())

    def _checkpoint(self, number: int) -> int:
        found = self._store.get(f"o:{number}".encode())
        return OFFSET_BEGINNING if found is None else int(found)


def _write(item: Mapping[str, Any]) -> Write:
    fields = item["fields"]
    return Write(item["at"], None if fields is None else frozenset(fields), Story.model_validate(item["story"]))
