"""crm.account: a company that we deal with."""

from .entity import Entity, EntityType, Money, Reference


class Account(Entity):
    name: str | None = None
    employee_count: int | None = None
    annual_revenue: Money | None = None
    address: str | None = None
    merged_into: Reference | None = None


ACCOUNT = EntityType("crm", "account", Account, verbs=("created", "updated", "owner_changed", "deleted", "merged"))
