"""Asks each system that is written to under which ids the hub acts there, and tells every service."""

import logging
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from unsilo_connectors.actions import Postponed, Refused
from unsilo_connectors.contract import Connection, nobody
from unsilo_schemas.topics import Topic

from ..config_topic import publish_accounts
from ..configuration import (
    Configuration,
    ConnectionSection,
    SecretUnavailable,
    connection_of,
    connector_of,
    from_environment,
)
from ..kafka import Kafka, KafkaException
from .lanes import Lanes

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 15.0
_ASK_ANEW_SECONDS = 3600.0  # an account may be given another bot while we run


@dataclass(slots=True)
class _Asking:
    """What is asked of one connection as it is configured now."""

    section: ConnectionSection
    look_at: float = 0.0  # when it is looked at again, on the monotonic clock
    asked_as: Connection[Any] | None = None  # with the secrets of then: another token may be another account's
    answer: "Future[Any] | None" = None
    anew_at: float = 0.0  # when the same is asked again


class Accounts:
    """Looks after the own accounts of all connections. Called from the loop's thread, and waits for no vendor."""

    def __init__(self, kafka: Kafka, topic: Topic, lanes: Lanes) -> None:
        self._kafka = kafka
        self._topic = topic
        self._lanes = lanes
        self._asking: dict[str, _Asking] = {}

    def look_after(self, configuration: Configuration) -> None:
        """Asks where nobody has told yet, or where a connection has changed, and publishes what was answered."""
        now = time.monotonic()
        self._forget(configuration)
        for name, section in configuration.connections.items():
            if not _is_asked(section):
                continue
            asking = self._asking.get(name)
            if asking is None:
                asking = self._asking[name] = _Asking(section)
            if asking.answer is not None:
                if asking.answer.done():
                    self._answered(name, asking, configuration)
            elif now >= asking.look_at:
                asking.look_at = now + _AGAIN_SECONDS
                self._ask(name, asking)

    def _forget(self, configuration: Configuration) -> None:
        """What was asked of a connection that is another now, or none, says nothing of the one that is there."""
        for name, asking in list(self._asking.items()):
            section = configuration.connections.get(name)
            if section is asking.section:
                continue
            if section == asking.section and section is not None:
                asking.section = section  # read anew, and the same
                continue
            if asking.answer is not None:
                asking.answer.cancel()
            del self._asking[name]

    def _ask(self, name: str, asking: _Asking) -> None:
        try:
            connection = connection_of(asking.section, from_environment)
        except (SecretUnavailable, ValidationError):
            return  # told where its commands are refused
        if connection == asking.asked_as and time.monotonic() < asking.anew_at:
            return
        asking.asked_as = connection
        asking.anew_at = 0.0
        asking.answer = self._lanes.ask(name, connector_of(asking.section).whoami(connection))

    def _answered(self, name: str, asking: _Asking, configuration: Configuration) -> None:
        answer, asking.answer = asking.answer, None
        assert answer is not None  # noqa: S101  # the caller has seen it
        try:
            accounts = [str(account) for account in answer.result()]
        except (Refused, Postponed) as error:
            log.warning("connection %s does not say who we are there, so its echoes wait: %s", name, error)
            return
        except Exception as error:  # a fault of the connector must not stop other connections
            log.error("connection %s cannot be asked who we are there: %s", name, type(error).__name__)
            return
        if not accounts and connector_of(asking.section).whoami is not nobody:
            log.warning("connection %s has no token: the hub cannot ask who it is there", name)
        elif sorted(accounts) != sorted(configuration.accounts.get(name, ())) or name not in configuration.accounts:
            try:
                publish_accounts(self._kafka, self._topic, name, accounts)
            except KafkaException as error:
                log.warning("the accounts of %s could not be published yet: %s", name, error)
                return
        asking.anew_at = time.monotonic() + _ASK_ANEW_SECONDS


def _is_asked(section: ConnectionSection) -> bool:
    """Whether there is somebody to be, and nobody has told who."""
    return section.own_accounts is None and bool(connector_of(section).actions)
