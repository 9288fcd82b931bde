"""Puts the normalizer together: settings, configuration, ledger, loop."""

import logging
import signal
import time
from datetime import timedelta

from unsilo_connectors.discovery import connectors
from unsilo_schemas.topics import Topics

from ..config_topic import ConfigFollower
from ..health import HealthServer
from ..kafka import Kafka
from ..logs import configure_logs
from ..loop import TransactionalLoop
from ..settings import HubSettings
from ..slots import Slot
from .ledger import Ledger
from .step import CONSUMER, Normalizer

log = logging.getLogger(__name__)

STALLED_SECONDS = 120.0


def run(settings: HubSettings) -> None:
    """Normalises until SIGTERM or SIGINT, then finishes the batch at hand."""
    configure_logs(settings, CONSUMER)
    kafka = Kafka.from_settings(settings)
    kafka.wait(60)
    topics = Topics(settings.topic_prefix)
    kafka.create(topics.fixed())
    slot = Slot(settings.data, CONSUMER, settings.instance)
    follower = ConfigFollower(kafka, topics.config(), CONSUMER)
    follower.start()
    horizon = max((connector.sender.retry_horizon for connector in connectors().values()), default=timedelta(days=1))
    ledger = Ledger(kafka, topics.ledger(), slot.cache, horizon)
    step = Normalizer(topics, ledger)

    def raw_topics() -> list[str]:
        step.configure(follower.current)
        return step.raw_topics()

    loop = TransactionalLoop(kafka, CONSUMER, settings.topic_prefix, slot.name, raw_topics, step)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    health = HealthServer(
        settings.health_host,
        settings.health_port,
        live=lambda: time.monotonic() - loop.turned_at < STALLED_SECONDS,
        ready=lambda: loop.turned_at > 0,
    )
    log.info("normalizer %s: metrics at http://%s:%d/metrics", slot.name, settings.health_host, health.port)
    try:
        loop.run()
    finally:
        follower.stop()
        ledger.close()
