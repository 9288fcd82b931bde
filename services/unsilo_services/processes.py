"""What every worker process is made of: settings, logs, Kafka, topics, a slot, the configuration, health."""

import logging
import signal
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from unsilo_schemas.topics import Topics

from .config_topic import ConfigFollower
from .configuration import Configuration, declared
from .health import HealthServer
from .kafka import Kafka, KafkaException
from .logs import configure_logs
from .loop import Step, TransactionalLoop
from .missing_topics import create_missing
from .settings import HubSettings
from .slots import Slot
from .stranded import StrandedWatch

log = logging.getLogger(__name__)

_STALLED_SECONDS = 120.0


class Process:
    """One worker of a service, from its start to its end."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.settings = HubSettings()

    def __enter__(self) -> Self:
        configure_logs(self.settings, self.service)
        self.kafka = Kafka.from_settings(self.settings)
        self.kafka.wait(60)
        self.topics = Topics(self.settings.topic_prefix)
        self.kafka.create(self.topics.fixed())
        self.slot = Slot(
            self.settings.data, self.service, self.settings.instance, f"{self.kafka.cluster_id}-{self.topics.prefix}"
        )
        self._follower = ConfigFollower(self.kafka, self.topics.config(), self.service)
        self._follower.start()
        self._create_missing()
        self._warn_of_drift()
        self.watch = StrandedWatch(self.kafka)
        self.watch.watch_reader(self._follower)
        self.watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.watch.stop()
        self._follower.stop()
        if self.watch.failure is not None and error is None:
            raise self.watch.failure

    def _warn_of_drift(self) -> None:
        """Topics that are there are never altered, and one that forgets too early or is shared out otherwise loses."""
        try:
            for drift in self.kafka.drift(declared(self.configuration, self.topics)):
                log.warning(
                    "topic %s: %s is %s, not %s: correct it on the broker; `unsilo topics` shows what differs",
                    drift.topic, drift.setting, drift.found, drift.wanted,
                )  # fmt: skip
        except KafkaException as error:
            log.warning("whether the topics are as they should be cannot be seen: %s", error)

    def _create_missing(self) -> None:
        create_missing(self.kafka, self.configuration, self.topics)

    @property
    def configuration(self) -> Configuration:
        """The configuration as it is now."""
        return self._follower.current

    def run_loop(
        self,
        topics: Callable[[], Iterable[str]],
        step: Step,
        turned_at: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        """Runs the service's loop until SIGTERM or SIGINT, with health and metrics beside it.

        `turned_at` is when what works beside the loop last showed that it does, on the monotonic clock.
        """
        loop = TransactionalLoop(
            self.kafka,
            self.service,
            self.settings.topic_prefix,
            self.slot.name,
            topics,
            step,
            restore_topics=self._create_missing,
            **options,
        )
        self.watch.watch_member(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.stop())
        host = self.settings.health_host
        health = HealthServer(
            host,
            self.settings.health_port,
            live=lambda: time.monotonic() - min(loop.turned_at, turned_at()) < _STALLED_SECONDS,
            ready=lambda: loop.ready,
        )
        log.info("%s %s: metrics at http://%s:%d/metrics", self.service, self.slot.name, host, health.port)
        loop.run()
