"""The topics that belong to connections, made again where somebody deleted them."""

import logging

from unsilo_schemas.topics import Topics

from .configuration import Configuration, topics_of
from .kafka import Kafka, TopicsUnusable

log = logging.getLogger(__name__)


def create_own(kafka: Kafka, configuration: Configuration, topics: Topics) -> None:
    """Creates those that are missing. One that cannot be is logged: its connection waits, and no other."""
    try:
        kafka.create(topics_of(configuration, topics))
    except TopicsUnusable as error:
        log.error("%s: its connection waits; allow that, or create the topic by `unsilo apply`", error.operator)
