"""Events that cannot be decided yet, and behind each those of the same aggregate, whose turn has not come."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from ..kafka import Message, Partition


@dataclass(frozen=True, slots=True)
class Item:
    """One event that is not finished, and since when it is looked at, on the monotonic clock."""

    message: Message
    partition: Partition
    offset: int
    since: float

    @property
    def key(self) -> bytes:
        return self.message.key() or b""


class Waiting:
    """The queues, by aggregate."""

    def __init__(self) -> None:
        self._queues: dict[bytes, deque[Item]] = defaultdict(deque)
        self._topics: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __len__(self) -> int:
        return self._topics.total()

    def __contains__(self, key: bytes) -> bool:
        return key in self._queues

    def of(self, topic: str) -> int:
        """How many events of a topic wait."""
        return self._topics[topic]

    def add(self, item: Item) -> None:
        """Puts an event behind those of its aggregate."""
        self._queues[item.key].append(item)
        self._topics[item.partition[0]] += 1

    def settled(self, decide: Callable[[Item], bool]) -> Iterator[Item]:
        """Takes out what can be decided now, in order for each aggregate."""
        for key, queue in list(self._queues.items()):
            while queue and decide(queue[0]):
                item = queue.popleft()
                self._topics[item.partition[0]] -= 1
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
        self._topics.clear()
