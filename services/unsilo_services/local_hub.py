"""A whole hub on this machine: a local Kafka, unless another is named, and every service under one supervisor."""

import errno
import os
import socket
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from unsilo_schemas.topics import CONSUMERS, Topics

from .broker.failure import BrokerUnavailable
from .broker.local import LocalKafka
from .errors import UnsiloError
from .health import is_ready
from .kafka import Kafka
from .settings import HubSettings, named_cluster, note_addresses, noted_in
from .supervisor import Supervisor, service_command

SERVICES = ("gateway", *CONSUMERS, "monitor")
WATCH_SECONDS = 0.2
_READY_SECONDS = 60.0
_BROKER_STEADY_SECONDS = 60.0
_BROKER_RESTARTS = 3  # of a Kafka that does not run so long


class HubNotReady(UnsiloError):
    """The hub did not start. All of it is stopped again."""


class LocalHub:
    """Start Kafka, apply a configuration, start the services; then `watch` it a few times a second until `stop`."""

    def __init__(self, settings: HubSettings, *, ephemeral: bool, workers: int, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.topics = Topics(settings.topic_prefix)
        self.supervisor = Supervisor(settings.data / "logs", say)
        self._say = say
        self._workers = workers
        self._kept: socket.socket | None = None
        self._noted = False
        self._broker_began_at = 0.0
        self._broker_restarts = 0
        self.broker = None if named_cluster() else LocalKafka(settings.data / "kafka", ephemeral=ephemeral)

    @cached_property
    def gateway(self) -> str:
        """Where the gateway is, or will be once the services are started: until then the port is kept for it."""
        host, wanted = self.settings.gateway_host, self.settings.gateway_port
        self._kept = _gateway_socket(self.settings)
        port = self._kept.getsockname()[1]
        if wanted not in (0, port):
            self._say(f"another program has port {wanted}: the gateway listens on {port}, or set UNSILO_GATEWAY_PORT")
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def logs(self) -> Path:
        """Where each process's log is, by name; seen from the working folder, where it is in there."""
        folder, here = self.settings.data / "logs", Path.cwd()
        return folder.relative_to(here) if folder.is_relative_to(here) else folder

    def start_kafka(self) -> Kafka:
        """Starts the local Kafka, or finds the one that is named, and creates the topics. Returns the way to it.

        Raises HubNotReady before anything is started where a hub runs in the data folder already, or where the gateway
        could not listen.
        """
        require_no_hub(self.settings)
        _ = self.gateway  # which port it gets is found out now
        if self.broker is not None:
            self._start_broker(self.broker.start)
            os.environ["UNSILO_KAFKA_BOOTSTRAP"] = self.broker.bootstrap
        self.kafka = Kafka.from_settings(self.settings)
        self.kafka.wait()
        self.kafka.create(self.topics.fixed())
        return self.kafka

    def start_services(self, environment: Mapping[str, str] | None = None) -> None:
        """Starts every service, all at once."""
        told = dict(environment or {})
        port = self.gateway.rpartition(":")[2]
        if "public_url" not in self.settings.model_fields_set:
            everywhere = self.settings.gateway_host in ("0.0.0.0", "::")  # noqa: S104  # compared, not listened on
            told["UNSILO_PUBLIC_URL"] = f"http://localhost:{port}" if everywhere else self.gateway
        self._give_port_away()
        self.supervisor.start("gateway", service_command("gateway"), {**told, "UNSILO_GATEWAY_PORT": port})
        for service in SERVICES[1:]:
            workers = self._workers if service in CONSUMERS else 1
            for number in range(workers):
                name = service if workers == 1 else f"{service}-{number}"
                self.supervisor.start(name, service_command(service), told)

    def await_ready(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Returns once deliveries are taken in, or none are `wanted` any more; HubNotReady if that takes too long.

        Notes where the hub is, for the commands that are run beside it.
        """
        end = time.monotonic() + _READY_SECONDS
        while wanted() and not is_ready(self.gateway):
            if time.monotonic() > end:
                log = self.logs / "gateway.log"
                raise HubNotReady(f"the gateway was not ready within {_READY_SECONDS:.0f} s: see {log}")
            self.watch()
            time.sleep(WATCH_SECONDS)
        note_addresses(self.settings, {"gateway": self.gateway, "bootstrap": self.kafka.bootstrap})
        self._noted = True

    def watch(self) -> None:
        """Restarts what died. Raises BrokerUnavailable when the local Kafka ends again and again, or cannot start."""
        self.supervisor.watch()
        if self.broker is not None and self.broker.poll() is not None:
            failure = self.broker.failure()
            steady = time.monotonic() - self._broker_began_at > _BROKER_STEADY_SECONDS
            self._broker_restarts = 1 if steady else self._broker_restarts + 1
            if self._broker_restarts > _BROKER_RESTARTS:
                raise BrokerUnavailable(f"{failure}. It ends again and again: the hub ends with it", failure.developer)
            self._say(f"{failure}: it starts again")
            try:
                self._start_broker(self.broker.restart)
            except BrokerUnavailable:
                if self.broker.poll() is None:  # else it ended while it started: the next turn sees to that
                    raise

    def _start_broker(self, start: Callable[[], None]) -> None:
        start()
        self._broker_began_at = time.monotonic()

    def _give_port_away(self) -> None:
        if self._kept is not None:
            self._kept.close()

    def stop(self) -> None:
        """Stops the services, the gateway first, then the local Kafka."""
        self._give_port_away()
        self.supervisor.stop()
        if self._noted:  # another hub's addresses are left alone
            note_addresses(self.settings, {})
        if self.broker is not None:
            self.broker.stop()


def require_no_hub(settings: HubSettings) -> None:
    """Raises HubNotReady where a hub runs in the data folder."""
    noted = noted_in(settings.data)
    if "gateway" in noted and is_ready(noted["gateway"]):
        raise HubNotReady(
            f"a hub runs here already, its gateway at {noted['gateway']}: use that one (`unsilo status`), stop it with "
            f"Ctrl-C where it was started, or name another folder than {settings.data} with UNSILO_DATA"
        )


def _gateway_socket(settings: HubSettings) -> socket.socket:
    """One at the port that was asked for; at a free one where that is only the default and taken. Else HubNotReady.

    Another program there would be taken for the gateway, which would be restarted for a minute before anything is said.
    """
    host, port = settings.gateway_host, settings.gateway_port
    try:
        return _listening(host, port)
    except OSError as error:
        if "gateway_port" not in settings.model_fields_set and error.errno == errno.EADDRINUSE:
            return _listening(host, 0)
        remedy = "set UNSILO_GATEWAY_PORT to another port, or UNSILO_GATEWAY_HOST to another address"
        if error.errno == errno.EADDRINUSE:
            remedy = "stop what listens there, or set UNSILO_GATEWAY_PORT to another port (0: a free one)"
        raise HubNotReady(f"the gateway cannot listen on {host}:{port}: {error.strerror}: {remedy}") from error


def _listening(host: str, port: int) -> socket.socket:
    """Listens, or nobody else would find the port taken. OSError."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
