"""What a connection to a sender or a receiver of Standard Webhooks is told in unsilo.yaml."""

from pydantic import Field, field_validator, model_validator
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.link import LINK

from ..contract import Settings
from ..secrets import RotatingSecret


class StandardWebhooksSettings(Settings):
    """`types` names our event type for each type of the sender; `ignored` lists those that are not wanted.

    `url` and `sending_secret` are for what the hub sends itself; without them it sends nothing. Without `secret` it
    takes nothing in.
    """

    secret: RotatingSecret | None = None
    types: dict[str, str] = Field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    sending_secret: RotatingSecret | None = None

    @field_validator("types")
    @classmethod
    def _ours(cls, types: dict[str, str]) -> dict[str, str]:
        for ours in types.values():
            if ours not in EVENT_TYPES:
                raise ValueError(f"{ours} is no event type of the hub; one is, for example, {next(iter(EVENT_TYPES))}")
            if EVENT_TYPES[ours].entity_type is LINK:  # by links the hub knows its own writes
                raise ValueError(f"{ours} is the hub's alone to say")
        return types

    @model_validator(mode="after")
    def _either(self) -> "StandardWebhooksSettings":
        if both := self.ignored.intersection(self.types):
            raise ValueError(f"{', '.join(sorted(both))}: both mapped and ignored")
        if self.secret is None and (self.types or self.url is None):
            raise ValueError("without `secret` nothing is taken in, and without `url` nothing is sent")
        return self
