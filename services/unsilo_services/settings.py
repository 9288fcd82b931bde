"""What a process is told by its environment: where Kafka is, what its topics are called, where it may keep files."""

import json
import os
import re
import socket
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from unsilo_schemas.topics import NAME

KAFKA_PREFIX = "UNSILO_KAFKA_"
LOCAL = "127.0.0.1"
_KAFKA_PORT = 9092
_URL = re.compile(r"https?://[^\s?#@/]+(/[^\s?#@]*)?")


def _address(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError("must be a whole address without credentials, ? and #: such as https://hub.example.org")
    return value.rstrip("/")


PublicUrl = Annotated[str, AfterValidator(_address)]


class HubSettings(BaseSettings):
    """Settings that all services share, from `UNSILO_…`."""

    model_config = SettingsConfigDict(env_prefix="UNSILO_", extra="ignore")

    topic_prefix: str = Field(
        default="unsilo",
        pattern=NAME.pattern,
        max_length=100,  # of the 249 that Kafka gives a name
        description="first part of every topic's name, of a-z, 0-9, dots and hyphens; tells hubs apart",
    )
    data: Path = Field(default=Path(".unsilo"), description="folder for caches, locks and the local Kafka's data")
    instance: str = Field(
        default_factory=socket.gethostname,
        description="name of this machine in transactional ids: must be the same after a restart, and nobody else's",
    )
    replication_factor: int = Field(default=-1, description="of topics the hub creates; -1: the broker's default")
    gateway_host: str = Field(default=LOCAL, description="address that the gateway listens on")
    gateway_port: int = Field(default=8080, ge=0, le=65535, description="port that the gateway listens on")
    gateway_trusted_proxies: str = Field(
        default="", description="addresses, comma separated, whose X-Forwarded-For names the real sender"
    )
    gateway_connections_per_address: int = Field(
        default=256,
        ge=1,
        description="network connections that one address (IPv6: one /64) may have open; trusted proxies any number",
    )
    public_url: PublicUrl = Field(
        default="http://localhost:8080",
        description="address that vendors call, where no file says `hub.public_url`; `unsilo up` names its gateway's",
    )
    health_host: str = Field(default=LOCAL, description="address of the other services' /metrics and /health")
    health_port: int = Field(
        default=0, ge=0, le=65535, description="port of the other services' /metrics and /health; 0: a free one"
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_format: str = Field(default="json", description="json, or text for people")


def kafka_options(settings: HubSettings) -> dict[str, str]:
    """librdkafka's options from `UNSILO_KAFKA_…`: `UNSILO_KAFKA_SASL_MECHANISM` becomes `sasl.mechanism`.

    `UNSILO_KAFKA_BOOTSTRAP` puts any cluster in the local Kafka's place; without it, the hub that is `running` is used.
    """
    options = {
        name.removeprefix(KAFKA_PREFIX).lower().replace("_", "."): value
        for name, value in os.environ.items()
        if name.startswith(KAFKA_PREFIX)
    }
    options.pop("bootstrap", None)
    bootstrap = named_cluster() or running(settings).get("bootstrap") or f"{LOCAL}:{_KAFKA_PORT}"
    return {**options, "bootstrap.servers": bootstrap}


def named_cluster() -> str | None:
    """Addresses of the cluster that the environment names, by either name; None where the local Kafka is meant."""
    return os.environ.get(KAFKA_PREFIX + "BOOTSTRAP") or os.environ.get(KAFKA_PREFIX + "BOOTSTRAP_SERVERS")


def running(settings: HubSettings) -> dict[str, str]:
    """Where the hub is that runs in the data folder; unless one is set, in that of this folder or the next above it."""
    if "data" in settings.model_fields_set:
        return noted_in(settings.data)
    here = Path.cwd()
    return next(filter(None, (noted_in(folder / settings.data) for folder in (here, *here.parents))), {})


def noted_in(data: Path) -> dict[str, str]:
    """Addresses that the local Kafka (`bootstrap`) and `unsilo up` (`gateway`) wrote down when they last started."""
    addresses: dict[str, str] = {}
    for note in ("kafka/broker.json", "running.json"):
        try:
            addresses |= json.loads((data / note).read_text())
        except (OSError, ValueError, TypeError):
            continue
    return addresses


def note_addresses(settings: HubSettings, addresses: dict[str, str]) -> None:
    """Notes where the hub in the data folder can be reached, for the commands that are run beside it; `{}`: nowhere."""
    note = settings.data / "running.json"
    if addresses:
        settings.data.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(addresses))
    else:
        note.unlink(missing_ok=True)
