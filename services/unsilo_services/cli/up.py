"""`unsilo up`, `unsilo run`, `unsilo broker`: the processes themselves."""

import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from unsilo_schemas.topics import Topics

from ..broker.local import LocalKafka
from ..broker.local import run as run_broker
from ..kafka import Kafka
from ..settings import LOCAL, HubSettings, kafka_options
from .config import apply_files
from .output import AsJson, console, errors, fail
from .supervisor import Supervisor, service_command, write_addresses

SERVICES = ("gateway", "normalizer", "flows", "delivery")
_WATCH_SECONDS = 0.2
_READY_SECONDS = 60.0


def broker(
    port: Annotated[int | None, typer.Option(help="Port for clients; a free one unless given.")] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing after it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a real Kafka on this machine until Ctrl-C, without Docker.

    Its data is kept in .unsilo/kafka unless --ephemeral. Example: unsilo broker --port 9092
    """
    run_broker(HubSettings().data / "kafka", port=port, ephemeral=ephemeral, as_json=as_json)


def run(
    service: Annotated[str, typer.Argument(help=f"One of {', '.join(SERVICES)}.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes that share its work (not for the gateway).")] = 1,
) -> None:
    """Run one service in the foreground until Ctrl-C, its log on standard error.

    Example: unsilo run normalizer --workers 2
    """
    if service not in SERVICES:
        raise fail(f"there is no service {service!r}: take one of {', '.join(SERVICES)}")
    command = service_command(service)
    if workers == 1:
        os.execv(command[0], command)  # noqa: S606  # no shell is the point
    if service == "gateway":
        raise fail("one gateway process is one --workers: start more with other UNSILO_GATEWAY_PORTs")
    settings = HubSettings()
    supervisor = Supervisor(settings.data / "logs", lambda line: errors.print(line, markup=False))
    for number in range(workers):
        supervisor.start(f"{service}-{number}", command, {})
    errors.print(f"{workers} workers of {service} run; their logs: {settings.data / 'logs'}")
    _watch(supervisor, None)


def up(
    files: Annotated[
        list[Path] | None, typer.Option("-f", "--file", help="Configuration to apply first: files or folders.")
    ] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="A local Kafka that keeps nothing.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes of each service but the gateway.")] = 1,
) -> None:
    """Run the whole hub: a local Kafka (unless UNSILO_KAFKA_BOOTSTRAP is set) and every service, until Ctrl-C.

    Example: unsilo up -f unsilo.yaml
    """
    settings = HubSettings()
    local = (
        None if os.environ.get("UNSILO_KAFKA_BOOTSTRAP") else LocalKafka(settings.data / "kafka", ephemeral=ephemeral)
    )
    supervisor = Supervisor(settings.data / "logs", lambda line: errors.print(line, markup=False))
    stopping = _Interrupt()
    try:
        if local is not None:
            local.start()
            os.environ["UNSILO_KAFKA_BOOTSTRAP"] = local.bootstrap
        kafka = Kafka.from_settings(settings)
        kafka.wait()
        kafka.create(Topics(settings.topic_prefix).fixed())
        if files:
            apply_files(kafka, settings, files, prune=False, dry_run=False)
        port = _gateway_port(settings)
        gateway = f"http://{settings.gateway_host}:{port}"
        supervisor.start("gateway", service_command("gateway"), {"UNSILO_GATEWAY_PORT": str(port)})
        for service in SERVICES[1:]:
            for number in range(workers):
                name = service if workers == 1 else f"{service}-{number}"
                supervisor.start(name, service_command(service), {})
        _await_ready(gateway, supervisor, stopping)
        write_addresses(settings.data, {"gateway": gateway, "bootstrap": kafka.bootstrap})
        console.print(f"Kafka    {kafka_options(settings)['bootstrap.servers']}", markup=False)
        console.print(f"gateway  {gateway}/in/CONNECTION", markup=False)
        console.print(f"logs     {settings.data / 'logs'}", markup=False)
        console.print("Next: unsilo connections list, unsilo send, unsilo tail. Ctrl-C stops everything.", markup=False)
        _watch(supervisor, local, stopping)
    finally:
        supervisor.stop()
        (settings.data / "running.json").unlink(missing_ok=True)
        if local is not None:
            local.stop()


class _Interrupt:
    """Whether the process was asked to end."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def _watch(supervisor: Supervisor, local: LocalKafka | None, stopping: _Interrupt | None = None) -> None:
    asked = stopping or _Interrupt()
    try:
        while not asked.asked:
            supervisor.watch()
            if local is not None and local.poll() is not None:
                raise local.failure()
            time.sleep(_WATCH_SECONDS)
    finally:
        supervisor.stop()


def _await_ready(gateway: str, supervisor: Supervisor, stopping: _Interrupt) -> None:
    end = time.monotonic() + _READY_SECONDS
    while not stopping.asked and time.monotonic() < end:
        supervisor.watch()
        try:
            with urllib.request.urlopen(f"{gateway}/health/ready", timeout=2):  # noqa: S310  # our own address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(_WATCH_SECONDS)
    if not stopping.asked:
        raise fail(f"the gateway was not ready within {_READY_SECONDS:.0f} s: see its log")


def _gateway_port(settings: HubSettings) -> int:
    """The port that was asked for; a free one where that is only the default and taken."""
    if "gateway_port" in settings.model_fields_set:
        return settings.gateway_port
    for port in (settings.gateway_port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.gateway_host or LOCAL, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    sys.exit("no port is free")
