"""crm.opportunity: a deal on its way."""

from datetime import date, datetime

from .entity import Coded, Entity, EntityType, Money, Reference, words


class OpportunityStatus(Coded):
    category: str | None = words("open", "won", "lost")


class Opportunity(Entity):
    name: str | None = None
    account: Reference | None = None
    contacts: list[Reference] | None = None
    pipeline: Reference | None = None
    stage: Reference | None = None
    status: OpportunityStatus | None = None
    amount: Money | None = None
    probability: float | None = None
    expected_close_on: date | None = None
    closed_at: datetime | None = None
    loss_reason: str | None = None
    source: str | None = None
    merged_into: Reference | None = None


OPPORTUNITY = EntityType(
    "crm",
    "opportunity",
    Opportunity,
    verbs=("created", "updated", "stage_changed", "won", "lost", "reopened", "deleted", "merged"),
)
