"""How a command ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from unsilo_connectors.actions import Written

from ..dead_letters import DeadLetter


@dataclass(frozen=True, slots=True)
class Done:
    """It was carried out, in a system of this name."""

    system: str
    written: Sequence[Written]


Outcome = Done | DeadLetter
"""Done, or why it never will be: for an operator, and without content."""
