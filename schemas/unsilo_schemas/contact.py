"""crm.contact: a person as a CRM knows them."""

from .entity import ContactPoint, Entity, EntityType, Reference


class Contact(Entity):
    name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    title: str | None = None
    account: Reference | None = None
    emails: list[ContactPoint] | None = None
    phones: list[ContactPoint] | None = None
    merged_into: Reference | None = None


CONTACT = EntityType("crm", "contact", Contact, verbs=("created", "updated", "deleted", "restored", "merged"))
