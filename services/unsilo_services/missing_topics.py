"""The hub's topics, made where they are missing: at first, and again where somebody deleted one."""

import logging

from unsilo_schemas.topics import Topics

from .configuration import Configuration, declared
from .kafka import Kafka, TopicsUnusable

log = logging.getLogger(__name__)


def create_missing(kafka: Kafka, configuration: Configuration, topics: Topics) -> None:
    """Creates those that are missing. One that cannot be is logged: what needs it waits, and nothing else does."""
    try:
        kafka.create(declared(configuration, topics))
    except TopicsUnusable as error:
        log.error("%s: what needs it waits; allow that, or create the topic by `unsilo apply`", error.operator)
