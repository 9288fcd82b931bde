"""Who, what, when, under which contract: CloudEvents 1.0 attributes, on Kafka and over HTTP.

On Kafka an event travels in binary mode (CloudEvents Kafka protocol binding, section 3.2): attributes as `ce_`
headers, the data alone as value, so that an event without data is a tombstone. Over HTTP it travels in structured or
batched mode (HTTP protocol binding, sections 3.2 and 3.3).
"""

import base64
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
JSON = "application/json"

_PAYLOAD = ("data", "data_base64")

Headers = Sequence[tuple[str, bytes | None]]


class Envelope(BaseModel):
    """The attributes of one event. Extension attributes that the hub does not know are kept, not lost."""

    model_config = ConfigDict(extra="allow", frozen=True)

    specversion: str = Field(default="1.0", pattern=r"^1\.0$")
    id: str = Field(min_length=1)
    source: str = Field(min_length=1, description="`/c/<connection>`")
    type: str = Field(min_length=1)
    subject: str | None = Field(default=None, description="`<entity>/<canonical id>`")
    time: datetime | None = Field(default=None, description="when it happened in the source")
    datacontenttype: str | None = None
    dataschema: str | None = None

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
    mappinggen: int | None = Field(default=None, description="generation of the mapping that made the event")
    origin: str | None = Field(default=None, description="connection where the human or job acted")
    hops: int | None = Field(default=None, description="number of write-backs by the hub so far")
    via: str | None = Field(default=None, description="connections already reached, comma separated")

    @field_validator("time", "recordedtime")
    @classmethod
    def _with_zone(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without its zone means nothing (RFC 3339 section 4)")
        return value

    @classmethod
    def from_headers(cls, headers: Headers) -> Self:
        """Reads the attributes of a binary-mode Kafka record; pydantic's ValidationError if it is no CloudEvent."""
        attributes: dict[str, Any] = {
            name[3:]: value.decode() for name, value in headers if name.startswith("ce_") and value is not None
        }
        for name, value in headers:
            if name == "content-type" and value is not None:
                attributes["datacontenttype"] = value.decode()
        return cls.model_validate(attributes)

    def to_headers(self) -> list[tuple[str, bytes]]:
        """The headers of a binary-mode Kafka record."""
        return [
            ("content-type" if name == "datacontenttype" else "ce_" + name, text.encode())
            for name, text in self._texts()
        ]

    def structured(self, data: bytes | None) -> dict[str, Any]:
        """The event as one JSON object (JSON event format, section 3). Data that is not JSON goes to `data_base64`."""
        event: dict[str, Any] = dict(self._texts())
        for name in ("hops", "mappinggen"):  # Integer attributes are JSON numbers (section 2.2)
            if name in event:
                event[name] = int(event[name])
        if data is not None:
            if is_json(self.datacontenttype):
                event["data"] = json.loads(data)
            else:
                event["data_base64"] = base64.b64encode(data).decode()
        return event

    def _texts(self) -> Iterable[tuple[str, str]]:
        for name, value in self:
            if value is not None:
                yield name, timestamp(value) if isinstance(value, datetime) else str(value)


def is_json(content_type: str | None) -> bool:
    """Whether data of this type is JSON; absent means JSON (JSON event format, section 3.1.1)."""
    media_type = (content_type or JSON).partition(";")[0].strip().lower()
    return media_type.endswith(("/json", "+json"))


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, with `Z`, and with a fraction only where there is one."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def from_structured(event: dict[str, Any]) -> tuple[Envelope, bytes | None]:
    """Takes a structured-mode object apart into attributes and data; pydantic's ValidationError if it is none."""
    attributes = {name: value for name, value in event.items() if name not in _PAYLOAD and value is not None}
    envelope = Envelope.model_validate(attributes)
    if event.get("data_base64") is not None:
        return envelope, base64.b64decode(event["data_base64"], validate=True)
    if "data" in event:
        return envelope, json.dumps(event["data"], ensure_ascii=False, separators=(",", ":")).encode()
    return envelope, None
