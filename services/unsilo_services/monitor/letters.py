"""How many dead letters there are. Counted once, from then on only what is new."""

from unsilo_schemas.topics import Topic

from ..kafka import TopicPartition
from .reader import Reader

_MOST = 100_000  # in one look; what is left is counted by offsets until the next


class Letters:
    """The dead letters that one topic keeps."""

    def __init__(self, reader: Reader, topic: Topic) -> None:
        self._reader = reader
        self._counts = {number: _Count() for number in range(topic.partitions)}
        self._topic = topic.name

    def count(self) -> int:
        """How many there are now. Raises KafkaException or KafkaUnavailable."""
        return sum(self._of(number, known) for number, known in self._counts.items())

    def _of(self, number: int, known: "_Count") -> int:
        begin, end = self._reader.begin_and_end(self._topic, number)
        if begin != known.begin or end < known.upto:  # the oldest are gone, or the topic is another one
            known.begin, known.upto, known.letters = begin, begin, 0
        if known.upto < end:
            place = TopicPartition(self._topic, number, known.upto)
            (new,) = self._reader.look([place], _MOST).values()
            known.letters += new.count
            known.upto = new.upto
        return known.letters + max(0, end - known.upto)


class _Count:
    def __init__(self) -> None:
        self.begin = 0
        self.upto = 0
        self.letters = 0
