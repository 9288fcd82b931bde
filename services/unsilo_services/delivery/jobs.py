"""A command ready to be carried out, or why it cannot even be tried."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from unsilo_connectors.actions import Action, Target
from unsilo_connectors.contract import Connection, Connector
from unsilo_connectors.payloads import describe
from unsilo_schemas.command import CommandData
from unsilo_schemas.envelope import Envelope

from ..audience import CLOSED, may_write
from ..configuration import Configuration, SecretUnavailable, connection_of, connector_of, from_environment
from ..kafka import Message, headers_of
from ..raw_records import REDRIVE_OF
from .outcomes import Failed

GIVEN_UP_AFTER = timedelta(hours=24)
_TRIED_AT_LEAST = timedelta(hours=1)  # also where the hub itself was down for a day


@dataclass(frozen=True, slots=True)
class Order:
    """A command as it was read."""

    message: Message
    envelope: Envelope
    data: CommandData

    @property
    def connection(self) -> str:
        return self.envelope.connection or "unknown"

    @property
    def redriven(self) -> bool:
        """Whether it was put back, so that it may have been carried out in part before."""
        return any(name == REDRIVE_OF for name, _ in headers_of(self.message))


@dataclass(frozen=True, slots=True)
class Job:
    """One command, ready to be carried out. `key` is the same on every attempt, in this process and the next."""

    connection: Connection[Any]
    connector: Connector[Any, Any]
    action: Action
    arguments: Any
    key: str
    target: Target | None
    aggregate: bytes
    issued: datetime  # aware
    repeated: bool
    trace: Mapping[str, str]
    until: datetime  # aware; when it is given up


class Refusal(Exception):
    """A command that cannot even be tried."""

    def __init__(self, outcome: Failed) -> None:
        super().__init__(outcome.why)
        self.outcome = outcome


def read_order(message: Message) -> Order:
    """A command from its record; pydantic's ValidationError where it is none."""
    envelope = Envelope.from_headers(headers_of(message))
    return Order(message, envelope, CommandData.model_validate_json(message.value() or b"null"))


def job_of(order: Order, configuration: Configuration, repeated: bool) -> Job:
    """What is to be done for a command. Raises Refusal, also where it may not be done."""
    envelope, data = order.envelope, order.data
    name = envelope.connection or ""
    section = configuration.connections.get(name)
    if section is None:
        raise Refusal(Failed("rule_violation", f"connection {name} is not configured any more", "gate"))
    connector = connector_of(section)
    action = connector.actions.get(data.action)
    if action is None:
        raise Refusal(Failed("rule_violation", f"{connector.name} has no action {data.action}", "gate"))
    try:
        arguments = action.arguments.model_validate(data.arguments)
        connection = connection_of(section, from_environment)
    except ValidationError as error:
        raise Refusal(Failed("delivery_rejected", describe(error), "arguments")) from None
    except SecretUnavailable as error:
        raise Refusal(Failed("delivery_rejected", str(error), "secret")) from None
    if not may_write(section, action, arguments):
        raise Refusal(Failed("rule_violation", f"connection {name} {CLOSED}", "gate"))
    now = datetime.now(UTC)
    return Job(
        connection=connection,
        connector=connector,
        action=action,
        arguments=arguments,
        key=envelope.id,
        target=None if data.target is None else Target(data.target.type, data.target.id, data.target.scope or ""),
        aggregate=order.message.key() or b"",
        issued=envelope.time or now,
        repeated=repeated or order.redriven,
        trace=_trace(envelope),
        until=max((envelope.time or now) + GIVEN_UP_AFTER, now + _TRIED_AT_LEAST),
    )


def _trace(envelope: Envelope) -> dict[str, str]:
    found = {"traceparent": envelope.traceparent, "tracestate": envelope.tracestate}
    return {name: value for name, value in found.items() if value is not None}
