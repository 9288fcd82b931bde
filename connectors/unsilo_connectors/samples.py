"""Recorded requests and the events they must become: `samples/` in each connector's folder, one case per file.

A sample is signed with a published test secret, so anyone can add one. It is at once a test, an example and something
to send to a hub of your own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from unsilo_schemas.envelope import timestamp
from unsilo_schemas.identity import event_id
from unsilo_schemas.writer import writer

from .contract import Connection, Connector, Event, Raw, WebhookRequest
from .masking import masked_body, masked_headers
from .secrets import Resolved

TEXT_SECRET = "unsilo-sample-secret"  # noqa: S105  # published: it protects nothing
CONNECTION = "sample"
_COMMON = "settings.json"


@dataclass(frozen=True, slots=True)
class Sample:
    """One recorded request. `events` is what it becomes, as `rendered` shows events; `answer` what a handshake gets.

    One that is not `recorded` yet lacks what `record` adds: signature and events.
    """

    name: str
    path: Path
    received_at: datetime
    headers: Mapping[str, str]
    body: bytes
    settings: Mapping[str, Any]
    events: list[list[dict[str, Any]]]  # one list for each part of the request
    answer: str | None
    recorded: bool

    def request(self, connector: Connector[Any, Any]) -> WebhookRequest[Any]:
        """The request as the gateway would hand it to the connector."""
        settings = connector.settings.model_validate(with_sample_secrets(self.settings))
        connection = Connection(CONNECTION, connector.name, settings)
        return WebhookRequest(connection, self.headers, self.body, self.received_at)


def samples(connector: Connector[Any, Any]) -> list[Sample]:
    """The samples of a connector, by name. Empty where it was installed from a wheel: they stay in the repository."""
    return [_read(path, _common(path.parent)) for path in sorted(_folder(connector).glob("*.json")) if _is_case(path)]


def stored(connector: Connector[Any, Any], request: WebhookRequest[Any]) -> list[Raw[Any]]:
    """The raw records that a trusted request leaves behind."""
    headers = masked_headers(request.headers, connector.secrets)
    return [request.part(masked_body(part, connector.secrets), headers) for part in connector.split(request)]


def translated(connector: Connector[Any, Any], raw: Raw[Any]) -> list[Event]:
    """What a raw record becomes: no event where its type is declared ignored, KeyError where nobody declared it.

    SchemaViolation where it is none that could be published.
    """
    payload = connector.decode(raw)
    kind = connector.event_type(payload, raw)
    if kind not in connector.ignored and kind not in connector.events:
        raise KeyError(f"{connector.name} declares no event type {kind!r}")
    events = [] if kind in connector.ignored else list(connector.events[kind](payload, raw))
    for event in events:
        writer(event.type.data).check(event.data)
    return events


def rendered(event: Event) -> dict[str, Any]:
    """An event as a sample states it: what a consumer would see, without what differs from run to run."""
    optional: dict[str, Any] = {}
    if event.actor is not None:
        optional["actor"] = event.actor
    if event.sequence is not None:
        optional["sequence"] = event.sequence
    return {
        "type": event.type.name,
        "id": event_id(CONNECTION, event.key),
        "key": event.entity[event.type.entity_type.key],
        "time": timestamp(event.time),
        **optional,
        "data": json.loads(writer(event.type.data).write(event.data)),
    }


def with_sample_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with every `{sample: TEXT}` in the place of a secret's reference."""
    return {name: _sample_secret(value) for name, value in settings.items()}


def _sample_secret(value: Any) -> Any:
    if isinstance(value, list):
        return [_sample_secret(item) for item in value]
    if isinstance(value, dict) and set(value) == {"sample"}:
        return Resolved(value["sample"])
    return value


def _folder(connector: Connector[Any, Any]) -> Path:
    return Path(__file__).parent / connector.name / "samples"


def _is_case(path: Path) -> bool:
    return path.name != _COMMON


def _common(folder: Path) -> Mapping[str, Any]:
    """The settings that all samples of a folder share."""
    path = folder / _COMMON
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _read(path: Path, common: Mapping[str, Any]) -> Sample:
    try:
        case = json.loads(path.read_text(encoding="utf-8"))
        return Sample(
            name=path.stem,
            path=path,
            received_at=datetime.fromisoformat(case["received_at"]),
            headers=case.get("headers", {}),
            body=case["body"].encode(),
            settings={**common, **case.get("settings", {})},
            events=case.get("events", []),
            answer=case.get("answer"),
            recorded="events" in case,
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is no sample: {type(error).__name__}: {error}") from error
