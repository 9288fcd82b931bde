"""BambooHR's webhooks: event-based and field-based, in JSON or as a form."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cached_property

from pydantic import Field, field_validator
from unsilo_schemas.employee import EMPLOYEE

from ..contract import (
    Connector,
    Event,
    Facts,
    MalformedWebhook,
    Raw,
    Sender,
    Settings,
    UntrustedWebhook,
    WebhookRequest,
)
from ..payloads import epoch, write_json
from ..secrets import RotatingSecret
from ..signatures import check_age, check_signature, hmac_hex
from .body import parts, tree
from .fields import facts, is_known, is_private, letters, pointers
from .notice import SENT_AT, Notice, notice

_SIGNATURE = "x-bamboohr-signature"
_DOMAIN = re.compile(r"[a-z0-9-]+", re.IGNORECASE)


class BambooHRSettings(Settings):
    """`custom_fields` names further fields that may be told, as they are posted; private ones are refused."""

    private_key: RotatingSecret
    custom_fields: tuple[str, ...] = ()
    tolerance_minutes: int = Field(default=5, ge=1, le=24 * 60)

    @field_validator("custom_fields")
    @classmethod
    def _tellable(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if is_private(name):
                raise ValueError(f"{name} is private: the hub never passes it on")
            if is_known(name):
                raise ValueError(f"{name} is told anyway")
        return names

    @cached_property
    def wanted(self) -> frozenset[str]:
        """The letters of the custom fields' names."""
        return frozenset(map(letters, self.custom_fields))


Incoming = Raw[BambooHRSettings]


def verify(request: WebhookRequest[BambooHRSettings]) -> None:
    """Hexadecimal HMAC-SHA256 over the body followed by the time in Unix seconds ("Security" of the webhooks page)."""
    settings = request.connection.settings
    sent_at = request.headers.get(SENT_AT)
    if not sent_at:
        raise UntrustedWebhook("timestamp_missing")
    content = request.body + sent_at.encode("utf-8", "surrogateescape")
    check_signature(request.headers.get(_SIGNATURE), content, settings.private_key)
    try:
        sent = epoch(sent_at)
    except MalformedWebhook:
        raise UntrustedWebhook("timestamp_malformed") from None
    check_age(sent, request.received_at, timedelta(minutes=settings.tolerance_minutes))


def sign(body: bytes, settings: BambooHRSettings, at: datetime) -> Mapping[str, str]:
    """The time and the signature."""
    sent_at = str(int(at.timestamp()))
    return {SENT_AT: sent_at, _SIGNATURE: hmac_hex(settings.private_key[0], body + sent_at.encode()).decode()}


def split(request: WebhookRequest[BambooHRSettings]) -> Iterable[bytes]:
    """One part for each employee, without the fields that are not told."""
    return parts(request.body, request.headers, request.connection.settings.wanted)


def decode(raw: Incoming) -> Notice:
    """Any of the four kinds of body as one."""
    return notice(tree(raw.body, raw.headers), raw.headers)


def aggregate(said: Notice, raw: Incoming) -> str:
    """The employee; a body about the company stands for that."""
    if said.employee is None:
        return raw.connection.entity_id("company", said.company)
    return raw.connection.entity_id("employee", said.employee)


def event_type(said: Notice, raw: Incoming) -> str:
    """As BambooHR calls it where webhooks are made; field-based bodies say only the action."""
    return said.type


def delivery_key(said: Notice, raw: Incoming) -> str:
    """BambooHR numbers no deliveries: a digest of this part and of the time at which it was sent."""
    return hashlib.sha256(raw.body + raw.headers.get(SENT_AT, "").encode("utf-8", "surrogateescape")).hexdigest()


def translate(said: Notice, raw: Incoming) -> Iterable[Event]:
    """The employee as far as told: never the whole, as the administrator chooses the fields."""
    connection, wanted = raw.connection, raw.connection.settings.wanted
    if said.employee is None:
        raise MalformedWebhook("data.employeeId: missing")
    verb = said.type.rpartition(".")[2]
    told = {} if verb == "deleted" or not said.fields else facts(said.fields, wanted, connection)
    changed = pointers(said.changed, wanted) if verb == "updated" else []
    if verb == "deleted":
        told["deleted_at"], changed = said.time, ["/deleted_at"]
    if "/manager" in changed:
        verb = "manager_changed"
    key = _key(said, said.employee, told)
    told.update(connection.identified("employee", said.employee, url=_address(raw.headers, said.employee)))
    yield Event(
        type=EMPLOYEE[verb],
        key=key,
        time=said.time,
        entity=told,
        changed=changed,
        complete=verb == "deleted",
    )


def _key(said: Notice, employee: str, told: Facts) -> str:
    """A time to the second is all that tells changes apart, so values count too, where they are told."""
    parts = [said.company, employee, said.type, said.stamp, ",".join(sorted(said.changed))]
    if said.fields:
        parts.append(hashlib.sha256(write_json(told)).hexdigest())
    return "/".join(parts)


def _address(headers: Mapping[str, str], employee: str) -> str | None:
    """Where the record is shown; the company's domain comes along if the webhook says `includeCompanyDomain`."""
    domain = headers.get("company-domain", "")
    if not _DOMAIN.fullmatch(domain) or not employee.isalnum():
        return None
    return f"https://{domain}.bamboohr.com/employees/employee.php?id={employee}"


connector = Connector[BambooHRSettings, Notice](
    name="bamboohr",
    title="BambooHR",
    settings=BambooHRSettings,
    sender=Sender(
        deadline=timedelta(seconds=10),
        retry_horizon=timedelta(days=1),
        on_failure=(
            "tries again up to five times after a 5xx answer, 5, 10, 20, 40 and 80 minutes apart; "
            "a 4xx answer ends it, so what is refused is lost"
        ),
        content_types=("application/json", "application/x-www-form-urlencoded"),
    ),
    needed_headers=(SENT_AT, "company-domain", "content-type"),
    verify=verify,
    sign=sign,
    decode=decode,
    aggregate=aggregate,
    event_type=event_type,
    events={
        f"{kind}.{action}": translate
        for kind in ("employee", "employee_with_fields")
        for action in ("created", "updated", "deleted")
    },
    ignored=frozenset({"company.updated", "company.deleted", "company-integrations.updated"}),
    split=split,
    delivery_key=delivery_key,
)
