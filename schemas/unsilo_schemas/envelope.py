"""Who, what, when, under which contract: CloudEvents 1.0 attributes, on Kafka and over HTTP.

On Kafka an event travels in binary mode (CloudEvents Kafka protocol binding, section 3.2): attributes as `ce_`
headers, the data alone as value, so that an event without data is a tombstone. Over HTTP it travels in structured or
batched mode (HTTP protocol binding, sections 3.2 and 3.3).
"""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
JSON = "application/json"

_PAYLOAD = ("data", "data_base64")
_NAME = re.compile(r"[a-z0-9]+")
_RFC_3339 = re.compile(r"[0-9-]{10}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})")

_encode = msgspec.json.Encoder().encode
Headers = Sequence[tuple[str, bytes | None]]
Integer = Annotated[int, Field(ge=-(2**31), lt=2**31)]  # the range of CloudEvents' own integer type


class Envelope(BaseModel):
    """The attributes of one event. Extension attributes that the hub does not know are kept, not lost."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)
    __pydantic_extra__: dict[str, str | bool | Integer | None] = Field(init=False)

    specversion: str = Field(default="1.0", pattern=r"^1\.0$")
    id: str = Field(min_length=1)
    source: str = Field(min_length=1, description="`/c/<connection>`")
    type: str = Field(min_length=1)
    subject: str | None = Field(default=None, min_length=1, description="`<entity>/<canonical id>`")
    time: datetime | None = Field(default=None, description="when it happened in the source")
    datacontenttype: str | None = Field(default=None, min_length=1)
    dataschema: str | None = Field(default=None, min_length=1)

    recordedtime: datetime | None = Field(default=None, description="when the hub had it; also the Kafka timestamp")
    sequence: str | None = Field(default=None, description="the source's version of the subject, zero-padded")
    partitionkey: str | None = Field(default=None, description="equal to the Kafka key")
    correlationid: str | None = Field(default=None, description="id of the event that started the story")
    causationid: str | None = Field(default=None, description="id of the event that this one follows from")
    traceparent: str | None = None
    tracestate: str | None = None
    dataclassification: str | None = None
    dataregulation: str | None = None
    authtype: str | None = Field(default=None, description="kind of actor: human, bot, system or unknown")
    authid: str | None = Field(default=None, description="opaque reference to the actor")
    connection: str | None = None
    mappinggen: Integer | None = Field(default=None, description="generation of the mapping that made the event")
    origin: str | None = Field(default=None, description="connection where the human or job acted")
    hops: Integer | None = Field(default=None, description="number of write-backs by the hub so far")
    via: str | None = Field(default=None, description="connections already reached, comma separated")

    @field_validator("time", "recordedtime", mode="before")
    @classmethod
    def _rfc_3339(cls, value: object) -> object:
        # Left to itself pydantic also reads numbers, and guesses whether they are seconds or milliseconds.
        if value is None or isinstance(value, datetime) or (isinstance(value, str) and _RFC_3339.fullmatch(value)):
            return value
        raise ValueError("a time is written as RFC 3339 says, with its zone")

    @field_validator("time", "recordedtime")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError("a time without its zone means nothing (RFC 3339 section 4)")
        try:
            return value.astimezone(UTC)
        except OverflowError as error:  # the first or last hours of the calendar, in another zone
            raise ValueError("a time out of range") from error

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        for name in self.__pydantic_extra__:
            if name == "data" or not _NAME.fullmatch(name):  # CloudEvents 1.0, section 2.2 on names
                raise ValueError("an attribute's name is made of a-z and 0-9, and is not `data`")
        for _, text in self._texts():
            text.encode()  # ValueError on half a surrogate pair, which JSON can hold and UTF-8 cannot
        return self

    @classmethod
    def from_headers(cls, headers: Headers) -> Self:
        """Reads the attributes of a binary-mode Kafka record; pydantic's ValidationError if it is no CloudEvent."""
        attributes = {name[3:]: _text(name, value) for name, value in headers if name.startswith("ce_")}
        for name, value in headers:
            if name == "content-type":
                content_type = attributes["datacontenttype"] = _text(name, value)
                if content_type is not None and content_type.lower().startswith("application/cloudevents"):
                    raise _refused(name, "structured mode: the attributes are in the value")  # Kafka binding, section 3
        return cls._read(attributes)

    def to_headers(self) -> list[tuple[str, bytes]]:
        """The headers of a binary-mode Kafka record."""
        return [
            ("content-type" if name == "datacontenttype" else "ce_" + name, text.encode())
            for name, text in self._texts()
        ]

    def structured(self, data: bytes | None) -> dict[str, Any]:
        """The event as one JSON object (JSON event format, section 3).

        Data that is not JSON, by its type or in fact, goes to `data_base64`: it is shown as it is, and nothing is lost.
        """
        event = {
            name: timestamp(value) if isinstance(value, datetime) else value
            for name, value in self
            if value is not None
        }
        if data is None:
            return event
        if is_json(self.datacontenttype):
            try:
                value = json.loads(data)
                _json(value)  # what Python reads and JSON does not have: NaN, half a surrogate pair
                return {**event, "data": value}
            except (ValueError, RecursionError):
                pass
        return {**event, "data_base64": base64.b64encode(data).decode()}

    @classmethod
    def _read(cls, attributes: dict[str, Any]) -> Self:
        return cls.model_validate({"specversion": None, **attributes})  # a default is for writing only

    def _texts(self) -> Iterable[tuple[str, str]]:
        for name, value in self:
            if isinstance(value, datetime):
                yield name, timestamp(value)
            elif isinstance(value, bool):
                yield name, str(value).lower()
            elif value is not None:
                yield name, str(value)


def is_json(content_type: str | None) -> bool:
    """Whether data of this type is JSON; absent means JSON (JSON event format, section 3.1.1)."""
    media_type = (content_type or JSON).partition(";")[0].strip().lower()
    return media_type.endswith(("/json", "+json"))


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, with `Z`, and with a fraction only where there is one."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return _encode(utc)[1:-1].decode()  # as a JSON text: an eighth of the time that `isoformat` takes


def from_structured(event: object) -> tuple[Envelope, bytes | None]:
    """Takes a structured-mode object, as parsed from JSON, apart into attributes and data.

    Raises pydantic's ValidationError if it is no CloudEvent, and nothing else.
    """
    if not isinstance(event, dict):
        raise _refused("event", "an event is a JSON object")
    attributes = {name: value for name, value in event.items() if name not in _PAYLOAD and value is not None}
    envelope = Envelope._read(attributes)
    if event.get("data_base64") is not None:
        if "data" in event:
            raise _refused("data", "an event has `data` or `data_base64`, not both")
        try:
            return envelope, base64.b64decode(event["data_base64"], validate=True)
        except (TypeError, ValueError) as error:
            raise _refused("data_base64", "not Base64") from error
    if "data" not in event:
        return envelope, None
    if envelope.datacontenttype is None:  # implied by this format only (section 3.1.2)
        envelope = envelope.model_copy(update={"datacontenttype": JSON})
    try:
        return envelope, _json(event["data"]) if is_json(envelope.datacontenttype) else event["data"].encode()
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise _refused("data", "not what `datacontenttype` says") from error


def batched(events: Iterable[tuple[Envelope, bytes | None]]) -> list[dict[str, Any]]:
    """Events as one JSON array (JSON event format, section 4)."""
    return [envelope.structured(data) for envelope, data in events]


def from_batched(events: object) -> list[tuple[Envelope, bytes | None]]:
    """Takes a batch apart. One event that is none refuses them all, with pydantic's ValidationError."""
    if not isinstance(events, list):
        raise _refused("events", "a batch is a JSON array")
    return [from_structured(event) for event in events]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _text(header: str, value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError as error:
        raise _refused(header, "not UTF-8") from error


def _refused(place: str, reason: str) -> ValidationError:
    """The error of a model, for what no model sees; without the input, which may be anything."""
    kind = PydanticCustomError("cloudevent", "{reason}", {"reason": reason})
    return ValidationError.from_exception_data("Envelope", [{"type": kind, "loc": (place,), "input": None}])
