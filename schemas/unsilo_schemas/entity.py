"""What all entities share: identity, references, actors and the small shapes their fields are made of.

Fields are optional throughout, because a source sends what it has. A field that the source did not send is absent, one
that it sent as null is null, an empty one is empty: models are therefore written with `exclude_unset`. Events are
written from plain dictionaries of the same fields, by `writer`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue

CanonicalId = Annotated[str, Field(description="UUIDv5 of connection, scope, remote type and remote id")]


class Shape(BaseModel):
    """A part of an entity, never changed once made. Unknown fields are refused: a misspelt field must not vanish."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ref(Shape):
    """Where an entity lives in a connected system."""

    system: str = Field(description="connector name, for example `zendesk`")
    connection: str
    type: str = Field(description="the system's own word for the object")
    id: str
    scope: str | None = Field(default=None, description="what the id is unique in, where that is not the connection")
    url: str | None = None
    version: str | None = None


class ActorRef(Shape):
    connection: str
    id: str


class Actor(Shape):
    """Who acted, as the source names them. Never a person: who that is, is not for a source to say."""

    ref: ActorRef
    display_name: str | None = None
    kind: Literal["human", "bot", "system"] | None = Field(default=None, description="absent where unknown")


class Reference(Shape):
    """Another entity, by canonical id, with what the source said of it in passing."""

    id: CanonicalId
    remote_id: str
    name: str | None = None


class Coded(Shape):
    """An open enumeration: the canonical value, and the source's own text.

    `category` is null where the source's text has no canonical counterpart.
    """

    category: str | None
    raw: str


def words(*known: str) -> Any:
    """The `category` of a coded field: the words that connectors may say. A field gets another one by declaring it."""
    description = "one of the examples so far, more may come; null where the source's text has no counterpart"
    return Field(description=description, examples=list(known))


class ContactPoint(Shape):
    """SCIM's multi-valued attribute shape (RFC 7643 section 2.4), plus `verified`."""

    value: str
    type: str | None = None
    primary: bool | None = None
    verified: bool | None = Field(default=None, description="absent where the source does not say")


class Money(Shape):
    amount: str = Field(description="decimal text, never a float", pattern=r"^-?[0-9]+(\.[0-9]+)?$")
    currency: str | None = Field(description="ISO 4217; null where the source does not say, never guessed")


class Entity(Shape):
    """The fields that every entity may have."""

    id: CanonicalId
    refs: list[Ref] = Field(min_length=1)
    remote_created_at: datetime | None = None
    remote_updated_at: datetime | None = None
    deleted_at: datetime | None = None
    owner: Actor | None = None
    tags: list[str] | None = None
    custom: dict[str, JsonValue] | None = Field(default=None, description="custom fields, as the source names them")


def vocabulary(model: type[Entity]) -> dict[str, list[str]]:
    """The words of each coded field of an entity, by the field's name."""
    found = {}
    for name, info in model.model_fields.items():
        for shape in get_args(info.annotation):
            if isinstance(shape, type) and issubclass(shape, Coded):
                found[name] = [str(word) for word in shape.model_fields["category"].examples or ()]
    return found


EntityT = TypeVar("EntityT", bound=Entity)


class EventData(BaseModel, Generic[EntityT]):
    """The data of an event: the entity as far as the source told, and what changed."""

    model_config = ConfigDict(extra="forbid")

    entity: EntityT
    changed: list[str] = Field(description="JSON Pointers (RFC 6901) into `entity`; empty where unknown")
    previous: dict[str, JsonValue] | None = Field(default=None, description="by JSON Pointer, where known")
    complete: bool = Field(description="false for a thin notice: the record is worth asking for")


@dataclass(frozen=True, slots=True)
class EntityType:
    """One kind of entity and the events that tell of it.

    `key` names the field of the entity that holds the Kafka key: its own id, or that of the aggregate it belongs to.
    `verbs` stand in order of precedence: where several fit one delivery, the one furthest right is said.
    """

    domain: str
    name: str
    model: type[Entity]
    verbs: tuple[str, ...]
    key: str = "id"
    aggregate: str = ""  # the topic's noun; the entity's own name unless given
    version: int = 1
    classification: str = "internal"
    regulation: str | None = "GDPR"
    events: Mapping[str, "EventType"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "aggregate", self.aggregate or self.name)
        object.__setattr__(self, "events", {verb: EventType(self, verb) for verb in self.verbs})

    def __getitem__(self, verb: str) -> "EventType":
        """The event type of a verb; KeyError, which says those there are, for one that this entity does not have."""
        try:
            return self.events[verb]
        except KeyError:
            known = ", ".join(self.verbs)
            raise KeyError(f"{self.domain}.{self.name} has no verb {verb!r}: there are {known}") from None


@dataclass(frozen=True, slots=True)
class EventType:
    """`unsilo.<domain>.<entity>.<past tense>.v<major>`."""

    entity_type: EntityType = field(repr=False)
    verb: str
    name: str = field(init=False)
    data: type[EventData[Entity]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        kind = self.entity_type
        object.__setattr__(self, "name", f"unsilo.{kind.domain}.{kind.name}.{self.verb}.v{kind.version}")
        object.__setattr__(self, "data", EventData[kind.model])  # type: ignore[name-defined]  # chosen at run time
