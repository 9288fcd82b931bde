"""What a hub is told to do: its public address, its connections, and what they may carry.

Secrets are references all the way: neither the files nor the topic hold one. A process that needs a secret resolves it
where it runs; the others put a placeholder in its place.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from unsilo_connectors.contract import Connection, Connector
from unsilo_connectors.discovery import broken, connectors
from unsilo_connectors.secrets import Resolved
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.entity import EventType
from unsilo_schemas.topics import Topic, Topics

from .errors import UnsiloError
from .logs import keep_out_of_logs
from .settings import HubSettings, PublicUrl

Resolver = Callable[[Mapping[str, str]], Resolved]

PLACEHOLDER = Resolved("unresolved")
_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_PLACE = {"env": re.compile(r"[^=\0]+"), "file": re.compile(r"[^\0]+")}


def _id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError("must be lower-case letters, digits and hyphens within, at most 40: such as help-desk")
    return value


ConnectionId = Annotated[str, AfterValidator(_id)]


class SecretUnavailable(UnsiloError):
    """A secret's reference leads nowhere. The connection refuses everything until it does."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class HubSection(_Section):
    """What holds for the whole hub."""

    public_url: PublicUrl = Field(default_factory=lambda: HubSettings().public_url)


class ConnectionSection(_Section):
    """One connected system."""

    id: ConnectionId
    connector: str
    audience: Literal["internal"] | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    rate_per_minute: int = Field(default=30_000, gt=0, description="verified deliveries that are taken in a minute")
    max_body_bytes: int | None = Field(default=None, gt=0, le=3 * 1024 * 1024, description="the connector's, if absent")
    secret_headers: tuple[Annotated[str, Field(pattern=r"^[!-9;-~]+$"), AfterValidator(str.lower)], ...] = Field(
        default=(), description="headers that are masked, beside those whose name says that they hold a secret"
    )
    partitions: int = Field(default=3, gt=0, le=100, description="of its raw topic; fixed once that exists")
    own_accounts: tuple[Annotated[str, Field(pattern=r"^[^\s\x00-\x1f\x7f]+$")], ...] | None = Field(
        default=None, description="ids under which the hub acts there; asked of the vendor if absent"
    )

    @field_validator("settings")
    @classmethod
    def _named(cls, value: dict[str, Any]) -> dict[str, Any]:
        for reference in _references(value):
            for kind, place in reference.items():
                if not _PLACE[kind].fullmatch(place):
                    raise ValueError(f"has a reference of {kind} that can lead nowhere: it is empty, or holds NUL or =")
        return value

    @field_validator("secret_headers")
    @classmethod
    def _maskable(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        connector = connectors().get(info.data.get("connector", ""))
        for name in value:
            if connector is not None and name in connector.needed_headers:
                raise ValueError(f"events are made of {name} and could not be told apart without it: leave it out")
        return value

    @field_validator("connector")
    @classmethod
    def _known(cls, value: str) -> str:
        if value in broken():
            raise ValueError(f"cannot be loaded here: {broken()[value]}")
        if value not in connectors():
            raise ValueError(f"is no connector: take one of {', '.join(sorted(connectors()))}")
        return value


class StepSection(_Section):
    """One thing that a flow does: write something to a connection."""

    deliver: str = Field(description="a connection's id")
    action: str
    to: str | None = Field(default=None, description="field of the entity whose copy over there is acted on")
    arguments: dict[str, Any] = Field(default_factory=dict, alias="with")


class FlowSection(_Section):
    """What happens when something happened."""

    id: ConnectionId
    on: tuple[str, ...] = Field(min_length=1, description="event types; `unsilo.` and `.v1` may be left out")
    when: str | None = Field(default=None, description="CEL")
    do: tuple[StepSection, ...] = Field(min_length=1)

    @field_validator("on", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @property
    def types(self) -> tuple[EventType, ...]:
        """Those of its event types that there are."""
        return tuple(EVENT_TYPES[name] for name in map(whole_name, self.on) if name in EVENT_TYPES)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole configuration, as one process sees it at one moment."""

    hub: HubSection
    connections: Mapping[str, ConnectionSection]
    flows: Mapping[str, FlowSection] = field(default_factory=dict)
    accounts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Ids under which the hub acts in a connection's system, as far as they are known."""
    declares_hub: bool = True
    """Whether `hub` was written down, or only holds what is so unless it is."""

    @classmethod
    def empty(cls) -> "Configuration":
        return cls(HubSection(), {}, declares_hub=False)

    @property
    def writable(self) -> list[str]:
        """The connections whose connectors can write: each has a command topic."""
        return [name for name, section in self.connections.items() if connector_of(section).actions]

    @property
    def targets(self) -> frozenset[str]:
        """The connections that flows write to, declared or not."""
        return frozenset(step.deliver for flow in self.flows.values() for step in flow.do)


def whole_name(type: str) -> str:
    """An event type as it is named in the catalogue, given in full or as people shorten it."""
    return type if type.startswith("unsilo.") else f"unsilo.{type}.v1"


def short_name(type: str) -> str:
    """An event type as people shorten it."""
    return type.removeprefix("unsilo.").removesuffix(".v1")


def connector_of(section: ConnectionSection) -> Connector[Any, Any]:
    """The connector that a connection uses."""
    return connectors()[section.connector]


def placeholder(reference: Mapping[str, str]) -> Resolved:
    """What stands for a secret in a process that needs none."""
    return PLACEHOLDER


def connection_of(section: ConnectionSection, resolve: Resolver = placeholder) -> Connection[Any]:
    """The connection as its connector wants it; pydantic's ValidationError, or what `resolve` raises."""
    return _connection(section, _resolved(section.settings, resolve))


def receiving(section: ConnectionSection) -> Connection[Any]:
    """The connection as the gateway needs it, which may not have the secrets that only writing takes."""
    outgoing = connector_of(section).outgoing
    settings = {
        name: _resolved(value, placeholder if name in outgoing else from_environment)
        for name, value in section.settings.items()
    }
    return _connection(section, settings)


def _connection(section: ConnectionSection, resolved: Mapping[str, Any]) -> Connection[Any]:
    return Connection(section.id, section.connector, connector_of(section).settings.model_validate(resolved))


def topics_of(configuration: Configuration, topics: Topics) -> list[Topic]:
    """The topics that belong to connections: raw for each, command for those that can be written to."""
    sections = configuration.connections
    raw = [topics.raw(name, section.partitions) for name, section in sections.items()]
    return raw + [topics.command(name, sections[name].partitions) for name in configuration.writable]


def declared(configuration: Configuration, topics: Topics) -> list[Topic]:
    """Every topic of a hub with this configuration."""
    return [*topics.fixed(), *topics_of(configuration, topics)]


def from_environment(reference: Mapping[str, str]) -> Resolved:
    """The secret behind a reference; SecretUnavailable where it is not set, cannot be read, or is empty."""
    if "env" in reference:
        text = os.environ.get(reference["env"], "")
        where = f"environment variable {reference['env']}"
    else:
        where = f"file {reference['file']}"
        try:
            text = Path(reference["file"]).read_text(encoding="utf-8").strip("\r\n")
        except OSError as error:
            raise SecretUnavailable(f"{where} cannot be read: {error.strerror}", repr(error)) from error
        except UnicodeDecodeError as error:
            raise SecretUnavailable(f"{where} is not UTF-8", where) from error
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes of the environment that are none of it
        raise SecretUnavailable(f"{where} is not UTF-8", where) from error
    if not text:
        raise SecretUnavailable(f"{where} is not set or empty", where)
    keep_out_of_logs(text)
    return Resolved(text)


def is_reference(value: Any) -> bool:
    """Whether a value in a file is `{env: NAME}` or `{file: PATH}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("env", value.get("file")), str)


def missing_secrets(
    configuration: Configuration, kinds: Collection[str] = ("env", "file")
) -> Iterator[tuple[str, str]]:
    """The references that lead nowhere where this is asked: the connection, and what is missing.

    No file is opened: one that is a pipe would be read empty.
    """
    for name, section in configuration.connections.items():
        for reference in _references(section.settings):
            for kind, place in reference.items():
                if kind not in kinds:
                    continue
                if kind == "env" and not os.environ.get(place):
                    yield name, f"environment variable {place} is not set"
                if kind == "file" and not os.path.exists(place):  # noqa: PTH110  # Path's raises where a name is too long
                    yield name, f"file {place} is not there"


def _references(value: Any) -> Iterator[Mapping[str, str]]:
    if is_reference(value):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _references(item)


def _resolved(value: Any, resolve: Resolver) -> Any:
    if is_reference(value):
        return resolve(value)
    if isinstance(value, dict):
        return {name: _resolved(item, resolve) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, resolve) for item in value]
    return value
