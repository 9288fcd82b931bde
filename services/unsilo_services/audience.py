"""Who may be written to. Closed by default: until consent and approval exist, all stays among colleagues."""

from typing import Any

from unsilo_connectors.actions import Action

from .configuration import ConnectionSection

CLOSED = "is not marked `audience: internal`, and nothing is written to others without consent and approval"


def may_write(connection: ConnectionSection, action: Action, arguments: Any) -> bool:
    """Whether only colleagues see what an action writes with these arguments."""
    return connection.audience == "internal" or action.internal(arguments)
