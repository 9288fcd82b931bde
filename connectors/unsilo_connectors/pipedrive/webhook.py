"""Pipedrive's webhooks, version 2 and version 1."""

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta

from ..contract import Connector, Raw, Sender, Settings, WebhookRequest
from ..payloads import read_object
from ..secrets import RotatingSecret
from ..signatures import check_basic
from .change import Change, changed_object
from .deal import deal
from .engagement import activity, note
from .organization import organization
from .person import person
from .user import user

_ACTIONS = ("create", "change", "delete")
_LAYOUTS = {
    "activity": activity,
    "deal": deal,
    "note": note,
    "organization": organization,
    "person": person,
    "user": user,
}
# "List of Webhooks" of both versions; the hub has no entity for these
_IGNORED = (
    "activityType",
    "board",
    "deal_installment",
    "deal_product",
    "lead",
    "phase",
    "pipeline",
    "product",
    "project",
    "stage",
    "task",
)


class PipedriveSettings(Settings):
    """The pair given to the webhook as `http_auth_user` and `http_auth_password`."""

    username: str
    password: RotatingSecret


def verify(request: WebhookRequest[PipedriveSettings]) -> None:
    """Basic authentication: nothing covers the body, so that HTTPS is all that protects it."""
    settings = request.connection.settings
    check_basic(request.headers.get("authorization"), settings.username, settings.password)


def sign(body: bytes, settings: PipedriveSettings, at: datetime) -> Mapping[str, str]:
    """The same for every body."""
    pair = f"{settings.username}:{settings.password[0].get_secret_value()}"
    return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def decode(raw: Raw[PipedriveSettings]) -> Change:
    """Either version as one."""
    return changed_object(read_object(raw.body), raw.connection)


def aggregate(change: Change, raw: Raw[PipedriveSettings]) -> str:
    """The object itself: none of Pipedrive's belongs to another of ours."""
    return change.entity_id


def event_type(change: Change, raw: Raw[PipedriveSettings]) -> str:
    """In the words of version 2, `change.deal`."""
    return f"{change.action}.{change.kind}"


connector = Connector[PipedriveSettings, Change](
    name="pipedrive",
    title="Pipedrive",
    settings=PipedriveSettings,
    sender=Sender(
        deadline=timedelta(seconds=10),
        retry_horizon=timedelta(days=1),
        on_failure=(
            "tries again after 3, 30 and 150 s; ten first tries that fail silence the webhook for 30 minutes, and what "
            "happens meanwhile is lost; three days without success delete it"
        ),
    ),
    verify=verify,
    sign=sign,
    decode=decode,
    aggregate=aggregate,
    event_type=event_type,
    events={f"{action}.{kind}": layout for kind, layout in _LAYOUTS.items() for action in _ACTIONS},
    ignored=frozenset(f"{action}.{kind}" for kind in _IGNORED for action in _ACTIONS),
)
