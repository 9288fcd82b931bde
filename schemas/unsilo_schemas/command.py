"""What is to be written to a system: the value of a record on `command.<connection>`.

The record's CloudEvents id is the idempotency key; its causation is the event that a flow acted on.
"""

from pydantic import JsonValue

from .entity import Ref, Shape
from .link import End

ISSUED = "unsilo.hub.command.issued.v1"


class CommandData(Shape):
    flow: str
    action: str
    arguments: dict[str, JsonValue]
    mirrors: End
    target: Ref | None = None
