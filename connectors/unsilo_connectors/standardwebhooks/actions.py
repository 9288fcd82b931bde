"""What is written to a receiver of Standard Webhooks: one signed message to its one address."""

import json

from pydantic import AwareDatetime, Field, JsonValue
from unsilo_schemas.envelope import timestamp

from ..actions import (
    Action,
    Arguments,
    Call,
    Command,
    Postponed,
    Refused,
    Response,
    Steps,
    Written,
    checked,
    retry_after,
)
from ..contract import Connection, UnusableSecret
from .settings import StandardWebhooksSettings
from .signature import signature


class SendArguments(Arguments):
    """`timestamp` is when what is told of happened: when the command was given, unless given."""

    type: str = Field(pattern=r"^[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*$", max_length=256)
    data: dict[str, JsonValue] | str
    timestamp: AwareDatetime | None = None


def send(command: Command[Connection[StandardWebhooksSettings], SendArguments]) -> Steps:
    """The key is the message's id, by which a receiver knows a repeated message: nothing need be looked for."""
    settings, said = command.connection.settings, command.arguments
    if settings.url is None or settings.sending_secret is None:
        raise Refused("cannot be written to without `url` and `sending_secret` in the connection's settings")
    content = {"type": said.type, "timestamp": timestamp(said.timestamp or command.issued), "data": said.data}
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    sent_at = str(int(command.at.timestamp()))
    try:
        signatures = [signature(secret, command.key, sent_at, body) for secret in settings.sending_secret]
    except UnusableSecret as error:
        raise Refused(f"cannot be signed for with this `sending_secret`: {error}") from None
    headers = {
        "content-type": "application/json",
        "webhook-id": command.key,
        "webhook-timestamp": sent_at,
        "webhook-signature": " ".join(signatures),
    }
    _accepted((yield Call("POST", settings.url, headers, body)))
    return (Written("delivery", command.key),)


ACTIONS = {"send": Action("Send a signed message", SendArguments, send)}


def _accepted(response: Response) -> None:
    """Refused or Postponed unless the receiver has taken it (the specification's section on status codes)."""
    status = response.status
    if status == 410:
        raise Refused("has retired this address (410): take the action out of the flow")
    if 300 <= status < 400:
        raise Refused(f"redirects ({status}), which is a failure by the specification: give the final `url`")
    if status in (429, 502, 504):
        raise Postponed(f"asks to be told less at once ({status})", retry_after(response), whole_connection=True)
    checked(response)
