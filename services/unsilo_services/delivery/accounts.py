"""Asks each system that is written to under which ids the hub acts there, and tells every service."""

import logging
import time
from concurrent.futures import Future
from typing import Any

from pydantic import ValidationError
from unsilo_connectors.actions import Postponed, Refused
from unsilo_schemas.topics import Topic

from ..config_topic import publish_accounts
from ..configuration import Configuration, SecretUnavailable, connection_of, connector_of, from_environment
from ..kafka import Kafka, KafkaException
from .lanes import Lanes

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 15.0
_ASK_ANEW_SECONDS = 3600.0  # an account may be given another bot while we run


class Accounts:
    """Looks after the own accounts of all connections. Called from the loop's thread, and waits for no vendor."""

    def __init__(self, kafka: Kafka, topic: Topic, lanes: Lanes) -> None:
        self._kafka = kafka
        self._topic = topic
        self._lanes = lanes
        self._asked: dict[str, Future[Any]] = {}
        self._next: dict[str, float] = {}

    def look_after(self, configuration: Configuration) -> None:
        """Asks where nobody has told yet, and publishes what was answered."""
        now = time.monotonic()
        for name, section in configuration.connections.items():
            if section.own_accounts is not None or not connector_of(section).actions:
                continue
            answer = self._asked.get(name)
            if answer is not None and answer.done():
                del self._asked[name]
                self._answered(name, answer, configuration)
            elif answer is None and now >= self._next.get(name, 0.0):
                self._next[name] = now + _AGAIN_SECONDS
                self._ask(name, configuration)

    def _ask(self, name: str, configuration: Configuration) -> None:
        section = configuration.connections[name]
        try:
            connection = connection_of(section, from_environment)
        except (SecretUnavailable, ValidationError):
            return  # told where its commands are refused
        self._asked[name] = self._lanes.ask(name, connector_of(section).whoami(connection))

    def _answered(self, name: str, answer: "Future[Any]", configuration: Configuration) -> None:
        try:
            accounts = [str(account) for account in answer.result()]
        except (Refused, Postponed) as error:
            log.warning("connection %s does not say who we are there, so its echoes wait: %s", name, error)
            return
        except Exception as error:  # a fault of the connector must not stop other connections
            log.error("connection %s cannot be asked who we are there: %s", name, type(error).__name__)
            return
        if sorted(accounts) != sorted(configuration.accounts.get(name, ())) or name not in configuration.accounts:
            try:
                publish_accounts(self._kafka, self._topic, name, accounts)
            except KafkaException as error:
                log.warning("the accounts of %s could not be published yet: %s", name, error)
                return
        self._next[name] = time.monotonic() + _ASK_ANEW_SECONDS
