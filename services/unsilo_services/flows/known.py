"""All that flows knows of what the hub writes: the links, and the commands that are under way."""

from pathlib import Path

from unsilo_schemas.link import LINK
from unsilo_schemas.topics import Topics

from ..configuration import Configuration
from ..kafka import Kafka, Partition
from .commands import Commands
from .links import Links
from .table import Table

_DELIVERY = "delivery"


class Known:
    """Links and commands in one table, and the topics that tell of them."""

    def __init__(self, kafka: Kafka, topics: Topics, folder: Path) -> None:
        self._topics = topics
        self._table = Table(kafka, folder)
        self.commands = Commands(self._table)
        self.links = Links(self._table, self.commands)

    @property
    def version(self) -> int:
        """Grows with all that is learned."""
        return self._table.version

    @property
    def positions(self) -> dict[Partition, int]:
        """Which offset of each partition that it reads comes next."""
        return self._table.positions

    def start(self) -> None:
        """Returns when all that there is has been read; TimeoutError if that takes too long."""
        self._table.start()

    def stop(self) -> None:
        """Ends the reading."""
        self._table.stop()

    def check(self) -> None:
        """Raises what the reading has ended with, if it has."""
        self._table.check()

    def is_current(self, connection: str, moment: float) -> bool:
        """Whether all that was said of writes there before a moment (on the monotonic clock) has been read."""
        return self._table.reached((self._topics.event(LINK).name, self._topics.command(connection).name), moment)

    def follow(self, configuration: Configuration) -> None:
        """Follows the commands to all connections of a configuration, and how they ended."""
        self._table.follow(
            {
                self._topics.event(LINK).name: self.links.take,
                self._topics.dead(_DELIVERY).name: self.commands.buried,
                **{self._topics.command(name).name: self.commands.take for name in configuration.writable},
            }
        )
