"""crm.account: a company that we deal with."""

from .entity import Actor, Coded, ContactPoint, Entity, EntityType, Money, Reference


class Account(Entity):
    name: str | None = None
    domains: list[str] | None = None
    phones: list[ContactPoint] | None = None
    industry: str | None = None
    employee_count: int | None = None
    annual_revenue: Money | None = None
    address: str | None = None
    parent: Reference | None = None
    lifecycle: Coded | None = None
    merged_into: Reference | None = None
    created_by: Actor | None = None


ACCOUNT = EntityType("crm", "account", Account, verbs=("created", "updated", "owner_changed", "merged", "deleted"))
