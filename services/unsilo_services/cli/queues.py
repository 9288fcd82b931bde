"""How the hub's queues and services are doing, asked of the broker: so it is told of those that are down, too."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from unsilo_schemas.topics import CONSUMERS

from ..health import is_ready
from ..kafka import Partition, offset_at
from ..monitor.backlog import Backlog, Backlogs
from ..monitor.queues import Queue, queues
from ..monitor.reader import Reader
from ..settings import running
from .hub import Hub
from .letters import Letter

RATE_OVER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Depth:
    """One queue as it is now."""

    connection: str
    queue: str
    topic: str
    service: str
    per_minute: int
    """Records that were written in the last minute."""
    lag: int
    oldest_at: datetime | None
    """When the oldest of those that wait was written."""
    dead: int

    def waits(self, now: datetime) -> float:
        """How many seconds the oldest has been waiting."""
        return 0.0 if self.oldest_at is None else max(0.0, (now - self.oldest_at).total_seconds())


@dataclass(frozen=True, slots=True)
class Service:
    """One service as it is now. `workers` of the gateway is 1 where it answers; `idle`: it has nothing to work on."""

    name: str
    workers: int
    address: str = ""
    idle: bool = False


class Gauge:
    """Measures a hub again and again, over the same connections."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._reader = Reader(hub.kafka)
        self._backlogs = Backlogs(hub.kafka, hub.topics, self._reader)

    def close(self) -> None:
        """Ends the connections."""
        self._reader.close()

    def depths(self, letters: Sequence[Letter] = ()) -> list[Depth]:
        """Every queue of the configuration, with how many of the letters come from it."""
        found = self._backlogs.measure(queues(self._hub.configuration, self._hub.topics))
        rates = self._rates(found)
        dead = Counter((letter.origin[0], letter.consumer) for letter in letters)
        depths = [
            self._depth(queue.topic, queue.group, backlog, rates, dead.pop((queue.topic, queue.group), 0))
            for queue, backlog in found.items()
        ]
        depths += [self._depth(topic, service, None, rates, count) for (topic, service), count in dead.items()]
        return sorted(depths, key=lambda depth: (depth.connection == "", depth.connection, depth.queue != "raw"))

    def _depth(self, topic: str, service: str, backlog: Backlog | None, rates: Mapping[str, int], dead: int) -> Depth:
        """Without a backlog: a queue that is none any more, and has left letters."""
        name = topic.removeprefix(f"{self._hub.topics.prefix}.")
        layer, _, rest = name.partition(".")
        owned = layer in ("raw", "command")
        return Depth(
            connection=rest if owned else "",
            queue=layer if owned else name,
            topic=topic,
            service=service,
            per_minute=rates.get(topic, 0),
            lag=0 if backlog is None else backlog.records,
            oldest_at=None if backlog is None else backlog.oldest,
            dead=dead,
        )

    def _rates(self, queues: Mapping[Queue, Backlog]) -> Mapping[str, int]:
        """By topic: a few are counted, many are estimated by their offsets."""
        places = self._hub.places({queue.topic for queue in queues})
        if not places:
            return {}
        starts = [
            tp for tp in offset_at(self._hub.kafka, places, datetime.now(UTC) - RATE_OVER) if tp.offset >= 0
        ]  # below: nothing since
        ends: Mapping[Partition, int] = self._hub.kafka.end_offsets(starts, committed=True) if starts else {}
        rates: Counter[str] = Counter()
        for place, glimpse in self._reader.look(starts).items():
            rates[place[0]] += glimpse.records(ends[place])
        return rates


def services(hub: Hub) -> list[Service]:
    """Which services work. Those with a consumer group are asked of the broker, the gateway at its address."""
    address = gateway_address(hub)
    gateway = Service("gateway", 1 if is_ready(address) else 0, address)
    found = hub.configuration
    idle = {"normalizer": not found.connections, "flows": False, "delivery": not found.writable}
    workers = {name: len(hub.kafka.group(hub.topics.group(name)).members) for name in CONSUMERS}
    return [gateway, *(Service(name, number, idle=idle[name] and not number) for name, number in workers.items())]


def gateway_address(hub: Hub) -> str:
    """Where the gateway of this machine would be."""
    settings = hub.settings
    return running(settings).get("gateway") or f"http://{settings.gateway_host}:{settings.gateway_port}"
