"""Deliveries by the million: bodies in the shapes of four vendors, seeded, each with ids of its own.

20,000 tickets of 10,000 customers and 80 agents, 500 channels with 5,000 people, 20,000 deals with 900 companies, 9,000
employees: people and objects recur, as they do.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

SEED = 20260302
_START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_WORDS = """
router invoice login export reset billing dashboard sync contact renewal ticket customer report region pipeline upgrade
delivery contract schedule payment access policy mobile desktop server token profile error please today
""".split()  # noqa: SIM905  # a list of them would be a screen long
CONNECTIONS = {"helpdesk": "zendesk", "chat": "slack", "deals": "pipedrive", "people": "bamboohr"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A body, and the connection that it comes in by."""

    connection: str
    body: bytes
    content_type: str = "application/json"


def deliveries(count: int, only: str | None = None) -> Iterator[Delivery]:
    """So many deliveries, the same ones each time."""
    chance = random.Random(SEED)
    makers = {"helpdesk": _zendesk, "chat": _slack, "deals": _pipedrive, "people": _bamboohr}
    names = list(makers) if only is None else [only]
    for number in range(count):
        name = names[number % len(names)]
        moment = _START + timedelta(milliseconds=20 * number)
        yield Delivery(name, json.dumps(makers[name](chance, number, moment)).encode())


def headers(delivery: Delivery, number: int) -> dict[str, str]:
    """What comes with a delivery: the vendor's own headers, and what its HTTP client and a proxy in front of us add."""
    proof = hashlib.sha256(delivery.body).hexdigest()
    sent_at = str(int(_START.timestamp()) + number // 50)
    return {
        "host": "hub.example.org",
        "content-type": delivery.content_type,
        "content-length": str(len(delivery.body)),
        "accept": "*/*",
        "accept-encoding": "gzip,deflate",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-proto": "https",
        "x-request-id": proof[:32],
        **_OWN_HEADERS[CONNECTIONS[delivery.connection]](proof, sent_at),
    }


_OWN_HEADERS: dict[str, Callable[[str, str], dict[str, str]]] = {
    "zendesk": lambda proof, sent_at: {
        "user-agent": "Zendesk Webhook",
        "x-zendesk-account-id": "22129848",
        "x-zendesk-webhook-id": "01HJ3FC5QYGJ0XMP9QWPZ0M5A3",
        "x-zendesk-webhook-invocation-id": "01HJ" + proof[:22].upper(),
        "x-zendesk-webhook-signature": proof[:44],
        "x-zendesk-webhook-signature-timestamp": sent_at,
        "traceparent": f"00-{proof[:32]}-{proof[32:48]}-01",
    },
    "slack": lambda proof, sent_at: {
        "user-agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        "x-slack-request-timestamp": sent_at,
        "x-slack-signature": f"v0={proof}",
    },
    "pipedrive": lambda proof, sent_at: {
        "user-agent": "Pipedrive Webhooks",
        "authorization": "Basic aHViOnNlY3JldA==",
    },
    "bamboohr": lambda proof, sent_at: {
        "user-agent": "BambooHR/1.0",
        "company-domain": "example",
        "x-bamboohr-signature": proof,
        "x-bamboohr-timestamp": sent_at,
    },
}


def _text(chance: random.Random, least: int, most: int) -> str:
    return " ".join(chance.choices(_WORDS, k=chance.randint(least, most)))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _agent(chance: random.Random) -> str:
    return str(8_447_388_090_000 + chance.randint(1, 80))


def _zendesk(chance: random.Random, number: int, moment: datetime) -> dict[str, Any]:
    ticket, requester = str(chance.randint(1, 20_000)), str(8_400_000_000_000 + chance.randint(1, 10_000))
    return {
        "account_id": 22_129_848,
        "detail": {
            "actor_id": _agent(chance),
            "assignee_id": _agent(chance),
            "brand_id": "8447346621310",
            "created_at": _iso(moment - timedelta(days=1)),
            "custom_status": "8447320465790",
            "description": _text(chance, 40, 60),
            "external_id": None,
            "form_id": "8646151517822",
            "group_id": str(chance.randint(1, 30)),
            "id": ticket,
            "is_public": True,
            "organization_id": str(chance.randint(1, 500)),
            "priority": chance.choice(("LOW", "NORMAL", "HIGH", "URGENT")),
            "requester_id": requester,
            "status": "OPEN",
            "subject": _text(chance, 5, 9),
            "submitter_id": requester,
            "tags": chance.sample(_WORDS, 3),
            "type": "INCIDENT",
            "updated_at": _iso(moment),
            "via": {"channel": "web_service"},
        },
        "event": {"current": "OPEN", "previous": chance.choice(("NEW", "PENDING", "HOLD"))},
        "id": f"{number:08x}-7239-495d-b020-f22348516046",
        "subject": f"zen:ticket:{ticket}",
        "time": _iso(moment),
        "type": "zen:event-type:ticket.status_changed",
        "zendesk_event_version": "2022-11-06",
    }


def _slack(chance: random.Random, number: int, moment: datetime) -> dict[str, Any]:
    channel, text = f"C{chance.randint(1, 500):010d}", _text(chance, 12, 20)
    stamp = f"{int(moment.timestamp())}.{number % 1_000_000:06d}"
    return {
        "token": "legacy-fixed-value",
        "team_id": "T0AQ1BCDE9",
        "api_app_id": "A0KRD7HC3",
        "event": {
            "type": "message",
            "user": f"U{chance.randint(1, 5000):010d}",
            "ts": stamp,
            "client_msg_id": f"{number:08x}-5a6a-4b5c-bd6f-109fd697038c",
            "text": text,
            "team": "T0AQ1BCDE9",
            "blocks": [{"type": "rich_text", "block_id": "FMAzp", "elements": [
                {"type": "rich_text_section", "elements": [{"type": "text", "text": text}]}]}],
            "channel": channel,
            "event_ts": stamp,
            "channel_type": "channel",
        },
        "type": "event_callback",
        "event_id": f"Ev{number:010X}",
        "event_time": int(moment.timestamp()),
        "authorizations": [{"enterprise_id": None, "team_id": "T0AQ1BCDE9", "user_id": "U0HUB", "is_bot": True,
                            "is_enterprise_install": False}],
        "is_ext_shared_channel": False,
        "event_context": f"4-message-T0AQ1BCDE9-{channel}",
    }  # fmt: skip


def _pipedrive(chance: random.Random, number: int, moment: datetime) -> dict[str, Any]:
    deal = chance.randint(1, 20_000)
    return {
        "data": {
            "id": deal, "title": _text(chance, 3, 6), "add_time": _iso(moment - timedelta(days=9)),
            "update_time": _iso(moment), "status": "open", "stage_id": chance.randint(1, 6), "pipeline_id": 2,
            "person_id": chance.randint(1, 5000), "org_id": chance.randint(1, 900),
            "value": chance.randint(100, 90_000), "currency": "EUR", "probability": None, "owner_id": 12_597_982,
            "lost_reason": None, "won_time": None, "lost_time": None, "close_time": None,
            "expected_close_date": "2026-12-23", "label_ids": [], "origin": "API", "custom_fields": {},
            "visible_to": "3", "is_archived": False,
        },
        "previous": {"stage_id": 7},
        "meta": {
            "action": "change", "company_id": "6083095", "correlation_id": "bc60674a-2e3d-404c-a268-42945daf16fc",
            "entity_id": str(deal), "entity": "deal", "id": f"{number:08x}-006d-4556-9804-8298e584a288",
            "is_bulk_edit": False, "timestamp": _iso(moment), "type": "general", "user_id": "12941358",
            "version": "2.0", "webhook_id": "1828483", "webhook_owner_id": "16219013", "change_source": "app",
            "permitted_user_ids": ["9251590", "10540315"], "attempt": 1, "host": "acme.pipedrive.com",
        },
    }  # fmt: skip


def _bamboohr(chance: random.Random, number: int, moment: datetime) -> dict[str, Any]:
    return {
        "type": "employee.updated",
        "timestamp": (_START + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S+0000"),
        "data": {"companyId": "12345", "employeeId": str(chance.randint(1, 9000)), "changedFields": ["firstName"]},
    }
