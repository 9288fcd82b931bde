"""Shows what a look has found. A queue that is not found any more is not shown any more."""

from collections.abc import Mapping

from ..metrics import DEAD_LETTER_RECORDS, GROUP_MEMBERS, QUEUE_END, QUEUE_LAG, QUEUE_OLDEST
from .backlog import Backlog
from .queues import Queue


class Gauges:
    """The queues' metrics, and which queues they tell of."""

    def __init__(self) -> None:
        self._shown: set[Queue] = set()

    def show(
        self, backlogs: Mapping[Queue, Backlog], letters: Mapping[str, int], members: Mapping[str, int], now: float
    ) -> None:
        """Shows backlogs, dead letters by consumer and members by group; `now` is in Unix time."""
        for queue, backlog in backlogs.items():
            age = 0.0 if backlog.oldest is None else max(0.0, now - backlog.oldest.timestamp())
            QUEUE_LAG.labels(queue.name, queue.group).set(backlog.records)
            QUEUE_OLDEST.labels(queue.name, queue.group).set(age)
            QUEUE_END.labels(queue.name).set(backlog.end)
        for consumer, count in letters.items():
            DEAD_LETTER_RECORDS.labels(consumer).set(count)
        for group, count in members.items():
            GROUP_MEMBERS.labels(group).set(count)
        self._forget(self._shown - backlogs.keys())
        self._shown = set(backlogs)

    def _forget(self, gone: set[Queue]) -> None:
        for queue in gone:
            QUEUE_LAG.remove(queue.name, queue.group)
            QUEUE_OLDEST.remove(queue.name, queue.group)
            QUEUE_END.remove(queue.name)
