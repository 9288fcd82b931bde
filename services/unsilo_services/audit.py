"""What is worth keeping and no event of any system: refusals, suppressions, redrives, delays. Facts, no content."""

import uuid
from collections.abc import Mapping
from datetime import datetime

from pydantic import JsonValue
from pydantic_core import to_json
from unsilo_schemas.envelope import JSON, Envelope

REJECTED = "unsilo.hub.event.rejected.v1"
REDRIVEN = "unsilo.hub.event.redriven.v1"
SUPPRESSED = "unsilo.hub.event.suppressed.v1"
POSTPONED = "unsilo.hub.command.postponed.v1"
RESUMED = "unsilo.hub.command.resumed.v1"


def audit_record(
    type: str, connection: str | None, at: datetime, facts: Mapping[str, JsonValue]
) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
    """A record for the audit topic: key, value and headers of a CloudEvent in binary mode."""
    envelope = Envelope(
        id=str(uuid.uuid4()),
        source="/hub" if connection is None else f"/c/{connection}",
        type=type,
        time=at,
        recordedtime=at,
        datacontenttype=JSON,
        connection=connection,
    )
    return None if connection is None else connection.encode(), to_json(dict(facts)), envelope.to_headers()
