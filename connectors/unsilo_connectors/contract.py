"""What a connector is: what it declares, what its functions take and give, and the errors they may raise.

The way of a request through a connector: `verify` (is it from whom it says?), `handshake` (does it only ask whether we
are there?), `split` (one request, how many records?), `decode` and `aggregate` (what is each one about?); and later, in
another process and from the stored record alone: `decode`, `event_type`, and the mapping declared for that type. All of
them are pure: no clock, no network, no memory.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict
from unsilo_schemas.entity import EventType
from unsilo_schemas.identity import entity_id

from .actions import Action, Call, Response

Refusal = Literal[
    "signature_missing",
    "signature_malformed",
    "signature_wrong",
    "credentials_missing",
    "credentials_wrong",
    "timestamp_missing",
    "timestamp_malformed",
    "secret_missing",
    "too_old",
    "too_far_ahead",
]


class UntrustedWebhook(Exception):
    """The request does not prove its sender. The gateway answers 401 and writes the reason, never the body, to `audit`.

    `skew_seconds` is how far the request's own time lies behind ours (negative: ahead), where it has one.
    """

    def __init__(self, reason: Refusal, skew_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason: Refusal = reason
        self.skew_seconds = skew_seconds


MOST_PARTS = 10_000
"""So many records one request may become: they are made in one go, in 0.2 s. The gateway keeps any more as one."""


class UnusableSecret(Exception):
    """Nothing can be signed with what the settings hold. The message says why, and nothing of the secret itself."""


class MalformedWebhook(Exception):
    """The body is not what the vendor documents. It is stored whole all the same and becomes a dead letter.

    The message names places and types, never values: it is kept beside the letter and shown to operators.
    """


class Settings(BaseModel):
    """A connection's settings. Unknown ones are refused, so that a misspelt option does not silently do nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Facts: TypeAlias = dict[str, Any]
"""The fields of an entity, or of a part of one, under the names of its model: JSON values, moments with zone, dates.

What is not known is left out. They are checked against the model when the event is written.
"""

SettingsT = TypeVar("SettingsT", bound=Settings)
PayloadT = TypeVar("PayloadT")


@dataclass(frozen=True, slots=True)
class Connection(Generic[SettingsT]):
    """One configured use of a connector, and the ids and references that follow from it."""

    id: str
    system: str
    settings: SettingsT

    def entity_id(self, remote_type: str, remote_id: str, scope: str = "") -> str:
        """The canonical id of an object of this connection's system; MalformedWebhook for an id without end."""
        return _entity_id(self.id, remote_type, remote_id, scope)

    def ref(self, remote_type: str, remote_id: str, scope: str = "", url: str | None = None) -> Facts:
        """Where an object lives in this connection's system."""
        known = {"system": self.system, "connection": self.id, "type": remote_type, "id": remote_id}
        if scope:
            known["scope"] = scope
        if url:
            known["url"] = url
        return known

    def identified(self, remote_type: str, remote_id: str, scope: str = "", url: str | None = None) -> Facts:
        """What an entity of its own begins with: its id, and where it lives; MalformedWebhook for an id without end."""
        _check_length(remote_type, remote_id, scope)
        return {
            "id": entity_id(self.id, remote_type, remote_id, scope),
            "refs": [self.ref(remote_type, remote_id, scope, url)],
        }

    def reference(self, remote_type: str, remote_id: str, scope: str = "", name: str | None = None) -> Facts:
        """Another object, mentioned in passing. Not to be changed: all who mention it share it."""
        if name is not None and len(name) > _LONGEST_ID:  # not remembered: nobody mentions it again soon
            return _reference.__wrapped__(self.id, remote_type, remote_id, scope, name)
        return _reference(self.id, remote_type, remote_id, scope, name)

    def actor(
        self, remote_id: str, name: str | None = None, kind: Literal["human", "bot", "system"] | None = None
    ) -> Facts:
        """Who acted, as this system names them. Not to be changed: all that they did shares it."""
        if name is not None and len(name) > _LONGEST_ID:
            return _actor.__wrapped__(self.id, remote_id, name, kind)
        return _actor(self.id, remote_id, name, kind)


_LONGEST_ID = 1024  # characters: no system has longer ones, and what is remembered must not grow with what is sent


@lru_cache(maxsize=32_768)  # a few thousand objects make most of what happens in a system
def _entity_id(connection: str, remote_type: str, remote_id: str, scope: str) -> str:
    _check_length(remote_type, remote_id, scope)
    return entity_id(connection, remote_type, remote_id, scope)


def _check_length(remote_type: str, remote_id: str, scope: str) -> None:
    if len(remote_id) + len(scope) > _LONGEST_ID:
        raise MalformedWebhook(f"an id of a {remote_type} is longer than {_LONGEST_ID} characters")


@lru_cache(maxsize=32_768)  # the same people and companies are mentioned over and over
def _reference(connection: str, remote_type: str, remote_id: str, scope: str, name: str | None) -> Facts:
    known = {"id": _entity_id(connection, remote_type, remote_id, scope), "remote_id": remote_id}
    return known if name is None else {**known, "name": name}


@lru_cache(maxsize=32_768)
def _actor(connection: str, remote_id: str, name: str | None, kind: str | None) -> Facts:
    if len(remote_id) > _LONGEST_ID:
        raise MalformedWebhook(f"an actor's id is longer than {_LONGEST_ID} characters")
    known = {key: text for key, text in (("display_name", name), ("kind", kind)) if text is not None}
    return {"ref": {"connection": connection, "id": remote_id}, **known}


@dataclass(frozen=True, slots=True)
class WebhookRequest(Generic[SettingsT]):
    """A request as it came in. It belongs to no web framework, so connectors are tested without one."""

    connection: Connection[SettingsT]
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # as signed: any content coding undone, otherwise the bytes as received
    received_at: datetime  # aware
    url: str = ""  # the public address that the vendor called: some of them sign it

    def part(self, body: bytes, headers: Mapping[str, str] | None = None) -> "Raw[SettingsT]":
        """A record of one part. The request's own headers still have their secrets: give masked ones to store."""
        return Raw(self.connection, self.headers if headers is None else headers, body, self.received_at)


class Raw(NamedTuple, Generic[SettingsT]):
    """One record of the raw log: a part of a request, with the declared secrets masked once it is stored."""

    connection: Connection[SettingsT]
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    received_at: datetime  # aware


@dataclass(frozen=True, slots=True)
class Answer:
    """The body that a handshake wants to see."""

    body: bytes
    content_type: str = "text/plain"


class Event(NamedTuple):
    """One thing that happened, in shared terms.

    `key` tells this change from every other of the connection, over all retries and all ways it may arrive: it includes
    the source's own change time or version. `changed` and `previous` use JSON Pointers into the entity.
    """

    type: EventType
    key: str
    time: datetime  # aware: when it happened in the source
    entity: Facts
    changed: Sequence[str] = ()
    previous: Facts | None = None
    complete: bool = True
    actor: Facts | None = None
    sequence: str | None = None  # the source's version of the entity, as text that sorts

    @property
    def data(self) -> Facts:
        """The event's data, for the `writer` of its type's model."""
        facts = {"entity": self.entity, "changed": self.changed, "complete": self.complete}
        return facts if self.previous is None else {**facts, "previous": self.previous}


Translate: TypeAlias = Callable[[PayloadT, Raw[SettingsT]], Iterable[Event]]
"""What the vendor's events of one type mean: none, one or several of ours."""


@dataclass(frozen=True, slots=True)
class Sender:
    """How the vendor delivers. Our answers, the deduplication window and `connections show` follow from it."""

    deadline: timedelta  # how long it waits for an answer
    retry_horizon: timedelta  # how long the same delivery may come again
    on_failure: str  # in words, for an operator: what it does when we fail or refuse
    content_types: Sequence[str] = ("application/json",)
    max_body_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Secrets:
    """Where a delivery carries secrets. They are masked after verification, before anything is stored."""

    headers: Sequence[str] = ()  # names in lower case; `authorization` and `cookie` always count
    fields: Sequence[str] = ()  # top-level names in a JSON or form body


def whole(request: WebhookRequest[SettingsT]) -> Iterable[bytes]:
    """The split of a system whose requests carry one event each."""
    return (request.body,)


def no_handshake(payload: PayloadT, raw: Raw[SettingsT]) -> Answer | None:
    """The handshake of a system that has none."""
    return None


def no_delivery_key(payload: PayloadT, raw: Raw[SettingsT]) -> str | None:
    """The delivery key of a system that does not number its deliveries: its event keys alone drop repeats."""
    return None


def as_is(text: str) -> str:
    """The escaping of a system that takes plain text."""
    return text


def nobody(connection: Connection[SettingsT]) -> Generator[Call, Response, Sequence[str]]:
    """The own account of a system that is not written to."""
    yield from ()
    return ()


def never(response: Response) -> timedelta | None:
    """The pause of a system that announces none."""
    return None


@dataclass(frozen=True)
class Connector(Generic[SettingsT, PayloadT]):
    """One system's webhooks: what it needs to know, whom to trust, how to translate.

    `sign` gives the headers by which the vendor proves itself, for tests and for `unsilo send`; any of the active
    secrets will do, and UnusableSecret says that none does. `decode` raises MalformedWebhook. `aggregate` gives the
    canonical id of what the event will be keyed by, so that a comment keeps its place behind its ticket. `events`
    declares the vendor's event types that are mapped, `ignored` those that are known and not wanted; any other becomes
    a dead letter. `generation` grows whenever a mapping changes what it says of the same record.

    What is written to the system is in `actions`, by name. `whoami` asks for the ids under which our own account acts
    there, as events name their actor. `outgoing` are the settings that only writing takes: whoever takes deliveries in
    need not have their secrets. `escape` makes a foreign text harmless in the system's markup, `plain` makes
    plain text of what it sends as a body. `pause` says how long an answer's rate headers ask the account to be quiet.
    `knows_its_echoes` is False where neither an account of ours nor a marker tells our own writes when they come back.
    Such a connector's events are those that its setting `types` names; flows in both directions are refused.
    """

    name: str
    title: str
    settings: type[SettingsT]
    sender: Sender
    verify: Callable[[WebhookRequest[SettingsT]], None]
    sign: Callable[[bytes, SettingsT, datetime], Mapping[str, str]]
    decode: Callable[[Raw[SettingsT]], PayloadT]
    aggregate: Callable[[PayloadT, Raw[SettingsT]], str]
    event_type: Callable[[PayloadT, Raw[SettingsT]], str]
    events: Mapping[str, Translate[PayloadT, SettingsT]]
    ignored: frozenset[str] = frozenset()
    secrets: Secrets = field(default_factory=Secrets)
    needed_headers: Sequence[str] = ()  # in lower case; events are made of them, so no connection may mask them
    split: Callable[[WebhookRequest[SettingsT]], Iterable[bytes]] = whole
    handshake: Callable[[PayloadT, Raw[SettingsT]], Answer | None] = no_handshake
    delivery_key: Callable[[PayloadT, Raw[SettingsT]], str | None] = no_delivery_key
    generation: int = 1
    actions: Mapping[str, Action] = field(default_factory=dict)
    outgoing: frozenset[str] = frozenset()
    whoami: Callable[[Connection[SettingsT]], Generator[Call, Response, Sequence[str]]] = nobody
    escape: Callable[[str], str] = as_is
    plain: Callable[[str], str] = as_is
    pause: Callable[[Response], timedelta | None] = never
    knows_its_echoes: bool = True
