"""Puts the monitor together: look at the broker, show what was found, wait, look again."""

import logging
import signal
import threading
import time

from unsilo_schemas.topics import CONSUMERS, Topics

from ..configuration import Configuration
from ..health import HealthServer
from ..kafka import Kafka, KafkaException, KafkaUnavailable
from ..metrics import MONITOR_LOOKED
from ..processes import Process
from .backlog import Backlogs
from .gauges import Gauges
from .letters import Letters
from .queues import queues
from .reader import Reader

log = logging.getLogger(__name__)

SERVICE = "monitor"
LOOK_SECONDS = 5.0
_STALLED_SECONDS = 120.0
_BLIND_SECONDS = 60.0


class Monitor:
    """Looks at the broker when it is told to. Used from one thread."""

    def __init__(self, kafka: Kafka, topics: Topics) -> None:
        self._kafka = kafka
        self._topics = topics
        self._reader = Reader(kafka)
        self._backlogs = Backlogs(kafka, topics, self._reader)
        self._gauges = Gauges()
        self._letters = {name: Letters(self._reader, topics.dead(name)) for name in CONSUMERS}
        self.turned_at = time.monotonic()
        self.looked_at = float("-inf")

    def close(self) -> None:
        """Ends the connections."""
        self._reader.close()

    def look(self, configuration: Configuration) -> bool:
        """Looks once and shows what was found. False where the broker did not tell all: then the old figures stay."""
        self.turned_at = time.monotonic()
        try:
            backlogs = self._backlogs.measure(queues(configuration, self._topics))
            letters = {name: topic.count() for name, topic in self._letters.items()}
            members = {name: len(self._kafka.group(self._topics.group(name)).members) for name in CONSUMERS}
        except (KafkaException, KafkaUnavailable) as error:
            log.warning("the broker could not be looked at: %s", error)
            return False
        self._gauges.show(backlogs, letters, members, time.time())
        self.looked_at = time.monotonic()
        MONITOR_LOOKED.set(time.time())
        return True


def run() -> None:
    """Looks every few seconds until SIGTERM or SIGINT."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with Process(SERVICE) as process:
        monitor = Monitor(process.kafka, process.topics)
        host = process.settings.health_host
        health = HealthServer(
            host,
            process.settings.health_port,
            live=lambda: time.monotonic() - monitor.turned_at < _STALLED_SECONDS,
            ready=lambda: time.monotonic() - monitor.looked_at < _BLIND_SECONDS,
        )
        log.info("monitor: metrics at http://%s:%d/metrics", host, health.port)
        while not stopping.is_set():
            monitor.look(process.configuration)
            stopping.wait(LOOK_SECONDS)
        monitor.close()
