"""A command as it was read, and what is to be done for it as the hub is configured at that moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from unsilo_connectors.actions import Action, Postponed, Target
from unsilo_connectors.contract import Connection, Connector
from unsilo_connectors.payloads import describe
from unsilo_connectors.secrets import Resolved
from unsilo_schemas.command import CommandData
from unsilo_schemas.envelope import Envelope

from ..audience import CLOSED, may_write
from ..configuration import Configuration, SecretUnavailable, connection_of, connector_of, from_environment
from ..dead_letters import REDRIVE_OF, DeadLetter
from ..kafka import Message, header_of, headers_of

GIVEN_UP_AFTER = timedelta(hours=24)
_TRIED_AT_LEAST = timedelta(hours=1)  # also where the hub itself was down for a day


@dataclass(frozen=True, slots=True)
class Order:
    """A command as it was read. `again` says that it was held when a worker ended, which may have tried it."""

    message: Message
    envelope: Envelope
    data: CommandData
    again: bool = False

    @property
    def connection(self) -> str:
        return self.envelope.connection or "unknown"

    @property
    def aggregate(self) -> bytes:
        """The object whose commands keep their order."""
        return self.message.key() or b""

    @property
    def repeated(self) -> bool:
        """Whether it may have been carried out, in part at least: by an earlier worker, or before it was put back."""
        return self.again or header_of(self.message, REDRIVE_OF) is not None

    def given_up_at(self, now: datetime) -> datetime:
        """Until when it is tried, if it is first tried now."""
        return max(min(self.envelope.time or now, now) + GIVEN_UP_AFTER, now + _TRIED_AT_LEAST)


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at a command, ready to be made. `key` is the same on every one, in this process and the next."""

    connection: Connection[Any]
    connector: Connector[Any, Any]
    action: Action
    arguments: Any
    key: str
    target: Target | None
    issued: datetime  # aware
    trace: Mapping[str, str]


def read_order(message: Message, again: bool) -> Order:
    """A command from its record; ValueError where it is none, pydantic's ValidationError where that has a place."""
    (message.key() or b"").decode()  # it names an aggregate: links are keyed by it
    envelope = Envelope.from_headers(headers_of(message))
    return Order(message, envelope, CommandData.model_validate_json(message.value() or b"null"), again)


def job_of(order: Order, configuration: Configuration) -> Job:
    """What is to be done for a command. Raises DeadLetter where it never can or may be, Postponed where not yet."""
    envelope, data = order.envelope, order.data
    name = envelope.connection or ""
    section = configuration.connections.get(name)
    if section is None:
        raise Postponed(f"connection {name} is not configured any more")
    connector = connector_of(section)
    action = connector.actions.get(data.action)
    if action is None:
        raise DeadLetter("rule_violation", f"{connector.name} has no action {data.action}", "gate")
    try:
        arguments = action.arguments.model_validate(data.arguments)
        if not may_write(section, action, arguments):
            raise DeadLetter("rule_violation", f"connection {name} {CLOSED}", "gate")
        connection = connection_of(section, _secret)
    except ValidationError as error:
        raise DeadLetter("delivery_rejected", describe(error), "arguments") from None
    except SecretUnavailable as error:
        raise DeadLetter("delivery_rejected", str(error), "secret") from None
    return Job(
        connection=connection,
        connector=connector,
        action=action,
        arguments=arguments,
        key=envelope.id,
        target=None if data.target is None else Target(data.target.type, data.target.id, data.target.scope or ""),
        issued=envelope.time or datetime.now(UTC),
        trace=_trace(envelope),
    )


def _secret(reference: Mapping[str, str]) -> Resolved:
    """The secret behind a reference. A file may be missing while another takes its place; a variable never comes."""
    try:
        return from_environment(reference)
    except SecretUnavailable as error:
        if "env" in reference:
            raise
        raise Postponed(f"the secret's {error}") from None


def _trace(envelope: Envelope) -> dict[str, str]:
    found = {"traceparent": envelope.traceparent, "tracestate": envelope.tracestate}
    return {name: value for name, value in found.items() if value is not None}
