"""Errors that a person can put right, in a sentence each: what is wrong, and what to do."""

from errno import ENOSPC

from pydantic import ValidationError

from ..errors import UnsiloError
from ..kafka import KafkaError, KafkaException
from ..settings import HubSettings

_DENIED = frozenset({
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
})  # fmt: skip
_UNKNOWN = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})


def told(error: Exception) -> str | None:
    """What to say of an error; None of one that is the program's own."""
    if isinstance(error, UnsiloError):
        return str(error)
    if isinstance(error, OSError) and error.errno == ENOSPC:
        return f"{error.filename or 'the output'} cannot be written, as its disk is full: make room and run it again"
    if isinstance(error, KafkaException):
        return _of_kafka(error.args[0])
    if isinstance(error, ValidationError) and error.title == HubSettings.__name__:
        return "\n".join(_of_setting(fault["loc"], fault["msg"]) for fault in error.errors(include_input=False))
    return None


def _of_kafka(fault: object) -> str:
    if not isinstance(fault, KafkaError):
        return f"Kafka: {fault}"
    remedy = "`unsilo doctor` looks further"
    if fault.code() in _DENIED:
        remedy = "give this user the right, or set other credentials in UNSILO_KAFKA_…"
    elif fault.code() in _UNKNOWN:
        remedy = "a topic is missing: start the hub once (`unsilo up`), or check UNSILO_TOPIC_PREFIX"
    elif fault.retriable():
        remedy = "it may pass: try it again"
    return f"Kafka: {fault.str()} ({fault.name()}): {remedy}"


def _of_setting(place: tuple[int | str, ...], problem: str) -> str:
    return f"UNSILO_{'_'.join(map(str, place)).upper()}: {problem}: correct the environment variable"
