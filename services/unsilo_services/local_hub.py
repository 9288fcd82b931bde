"""A whole hub on this machine: a local Kafka, unless another is named, and every service under one supervisor."""

import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from unsilo_schemas.topics import Topics

from .broker.local import LocalKafka
from .errors import UnsiloError
from .kafka import Kafka
from .settings import HubSettings, note_addresses
from .supervisor import Supervisor, service_command

SERVICES = ("gateway", "normalizer", "flows", "delivery", "monitor")
WORKED = ("normalizer", "flows", "delivery")  # those that share their work by partitions
WATCH_SECONDS = 0.2
_READY_SECONDS = 60.0


class HubNotReady(UnsiloError):
    """The hub did not start. All of it is stopped again."""


class LocalHub:
    """Start Kafka, apply a configuration, start the services; then `watch` it a few times a second until `stop`."""

    def __init__(self, settings: HubSettings, *, ephemeral: bool, workers: int, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.topics = Topics(settings.topic_prefix)
        self.supervisor = Supervisor(settings.data / "logs", say)
        self._workers = workers
        given = os.environ.get("UNSILO_KAFKA_BOOTSTRAP")
        self.broker = None if given else LocalKafka(settings.data / "kafka", ephemeral=ephemeral)

    @cached_property
    def gateway(self) -> str:
        """Where the gateway is, or will be once the services are started."""
        return f"http://{self.settings.gateway_host}:{_gateway_port(self.settings)}"

    @property
    def logs(self) -> Path:
        """Where each process's log is, by name."""
        return self.settings.data / "logs"

    def start_kafka(self) -> Kafka:
        """Starts the local Kafka, or finds the one that is named, and creates the topics. Returns the way to it."""
        if self.broker is not None:
            self.broker.start()
            os.environ["UNSILO_KAFKA_BOOTSTRAP"] = self.broker.bootstrap
        self.kafka = Kafka.from_settings(self.settings)
        self.kafka.wait()
        self.kafka.create(self.topics.fixed())
        return self.kafka

    def start_services(self, environment: Mapping[str, str] | None = None) -> None:
        """Starts every service, all at once."""
        told = dict(environment or {})
        port = self.gateway.rpartition(":")[2]
        self.supervisor.start("gateway", service_command("gateway"), {**told, "UNSILO_GATEWAY_PORT": port})
        for service in SERVICES[1:]:
            workers = self._workers if service in WORKED else 1
            for number in range(workers):
                name = service if workers == 1 else f"{service}-{number}"
                self.supervisor.start(name, service_command(service), told)

    def await_ready(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Returns once deliveries are taken in, or none are `wanted` any more; HubNotReady if that takes too long.

        Notes where the hub is, for the commands that are run beside it.
        """
        end = time.monotonic() + _READY_SECONDS
        while wanted() and not self._answers():
            if time.monotonic() > end:
                log = self.logs / "gateway.log"
                raise HubNotReady(f"the gateway was not ready within {_READY_SECONDS:.0f} s: see {log}")
            self.watch()
            time.sleep(WATCH_SECONDS)
        note_addresses(self.settings, {"gateway": self.gateway, "bootstrap": self.kafka.bootstrap})

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.gateway}/health/ready", timeout=2):  # noqa: S310  # our own address
                return True
        except (urllib.error.URLError, OSError):
            return False

    def watch(self) -> None:
        """Restarts what died. Raises BrokerUnavailable when the local Kafka is gone."""
        self.supervisor.watch()
        if self.broker is not None and self.broker.poll() is not None:
            raise self.broker.failure()

    def stop(self) -> None:
        """Stops the services, the gateway first, then the local Kafka."""
        self.supervisor.stop()
        note_addresses(self.settings, {})
        if self.broker is not None:
            self.broker.stop()


def _gateway_port(settings: HubSettings) -> int:
    """The port that was asked for; a free one where that is only the default and taken."""
    if "gateway_port" in settings.model_fields_set:
        return settings.gateway_port
    for port in (settings.gateway_port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.gateway_host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise HubNotReady("no port is free for the gateway: set UNSILO_GATEWAY_PORT")
