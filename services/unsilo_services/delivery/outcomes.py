"""How a command ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unsilo_connectors.actions import Written


@dataclass(frozen=True, slots=True)
class Done:
    """It was carried out."""

    written: Sequence[Written]


@dataclass(frozen=True, slots=True)
class Failed:
    """It never will be. `why` is for an operator and holds no content."""

    reason: Literal["delivery_rejected", "delivery_timeout", "rule_violation", "payload_malformed"]
    why: str
    stage: str = "call"


Outcome = Done | Failed
