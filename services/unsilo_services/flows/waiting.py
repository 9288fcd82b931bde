"""Events that cannot be decided yet, and behind each those of the same aggregate, whose turn has not come."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from ..kafka import Message, Partition

_SIZE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Item:
    """One event that is not finished, of which connection, and since when it is looked at, on the monotonic clock."""

    message: Message
    partition: Partition
    offset: int
    connection: str
    since: float

    @property
    def key(self) -> bytes:
        return self.message.key() or b""

    @property
    def size(self) -> int:
        """One, and one more for every 64 KiB."""
        return 1 + len(self.message.value() or b"") // _SIZE_BYTES


class Waiting:
    """The queues, by aggregate."""

    def __init__(self) -> None:
        self._queues: dict[bytes, deque[Item]] = defaultdict(deque)
        self._sizes: Counter[Partition] = Counter()
        self._of_connection: Counter[tuple[Partition, str]] = Counter()

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __contains__(self, key: bytes) -> bool:
        return key in self._queues

    def most(self, topic: str) -> int:
        """How much waits of that partition of a topic of which the most does, by size."""
        return max((size for (name, _), size in self._sizes.items() if name == topic), default=0)

    def of(self, partition: Partition, connection: str) -> int:
        """How much of a connection waits in a partition, by size."""
        return self._of_connection[partition, connection]

    def add(self, item: Item) -> None:
        """Puts an event behind those of its aggregate."""
        self._queues[item.key].append(item)
        self._count(item, item.size)

    def settled(self, decide: Callable[[Item], bool]) -> Iterator[Item]:
        """Takes out what can be decided now, in order for each aggregate."""
        for key, queue in list(self._queues.items()):
            while queue and decide(queue[0]):
                item = queue.popleft()
                self._count(item, -item.size)
                yield item
            if not queue:
                del self._queues[key]

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forgets the events of partitions that are another's now."""
        kept = [item for queue in self._queues.values() for item in queue if item.partition not in partitions]
        self.clear()
        for item in kept:
            self.add(item)

    def clear(self) -> None:
        self._queues.clear()
        self._sizes.clear()
        self._of_connection.clear()

    def _count(self, item: Item, size: int) -> None:
        self._sizes[item.partition] += size
        self._of_connection[item.partition, item.connection] += size
