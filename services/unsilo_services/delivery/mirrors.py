"""What was written, as a mirror link between an event's object and its copy: by it the echo is known."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from unsilo_connectors.actions import Written
from unsilo_schemas.entity import Ref
from unsilo_schemas.envelope import JSON, Envelope
from unsilo_schemas.identity import entity_id, event_id
from unsilo_schemas.jsonschema import file_name
from unsilo_schemas.link import LINK, End, Link, Story, Wrote

from .jobs import Order


def mirror_link(
    order: Order, system: str, written: Sequence[Written], public_url: str
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of the link's record."""
    envelope, now = order.envelope, datetime.now(UTC)
    name = order.connection
    wrote = [_wrote(system, name, item) for item in written]
    identity = entity_id(name, "link", envelope.id)
    aggregate = (order.message.key() or b"").decode()
    story = Story(
        correlationid=envelope.correlationid or envelope.id,
        hops=envelope.hops or 0,
        via=[step for step in (envelope.via or "").split(",") if step],
    )
    link = Link(
        id=identity,
        refs=[wrote[0].ref],
        kind="mirror_of",
        left=order.data.mirrors,
        right=End(id=wrote[0].id, ref=wrote[0].ref),
        wrote=wrote,
        aggregate=aggregate,
        command=envelope.id,
        story=story,
    )
    event = LINK["asserted"]
    data = event.data(entity=link, changed=[], complete=True)
    said = Envelope(
        id=event_id(name, "link\x1f" + envelope.id),
        source=f"/c/{name}",
        type=event.name,
        subject=f"link/{identity}",
        time=now,
        recordedtime=now,
        datacontenttype=JSON,
        dataschema=f"{public_url}/schemas/{file_name(event)}",
        partitionkey=aggregate,
        correlationid=story.correlationid,
        causationid=envelope.id,
        traceparent=envelope.traceparent,
        tracestate=envelope.tracestate,
        dataclassification=LINK.classification,
        connection=name,
        origin=envelope.origin,
        hops=story.hops,
        via=envelope.via,
    )
    return data.model_dump_json(exclude_unset=True).encode(), said.to_headers()


def _wrote(system: str, connection: str, item: Written) -> Wrote:
    optional: Mapping[str, Any] = {key: text for key, text in (("scope", item.scope), ("url", item.url)) if text}
    ref = Ref(system=system, connection=connection, type=item.type, id=item.id, **optional)
    identity = entity_id(connection, item.type, item.id, item.scope)
    return Wrote(id=identity, ref=ref) if item.fields is None else Wrote(id=identity, ref=ref, fields=list(item.fields))
