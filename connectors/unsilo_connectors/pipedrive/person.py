"""A person is a contact."""

from collections.abc import Iterable

from unsilo_schemas.contact import CONTACT

from .change import Change
from .fields import TIMES, Field, State, labels, owner, points, reference
from .layout import Layout, ordinary


def _verbs(change: Change, state: State, before: State) -> Iterable[str]:
    yield ordinary(change)
    if before.get("active_flag") is False and state.get("active_flag") is True:
        yield "restored"


person = Layout(
    CONTACT,
    (
        *TIMES,
        owner("owner_id"),
        labels(),
        Field("name", ("name",)),
        Field("given_name", ("first_name",)),
        Field("family_name", ("last_name",)),
        Field("title", ("job_title",)),
        reference("account", "organization", "org_id", "org_name"),
        points("emails", "emails", "email"),
        points("phones", "phones", "phone"),
    ),
    _verbs,
    page="person",
)
