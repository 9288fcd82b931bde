"""From the door to the event, gateway and normalizer as they are: how soon a new connection works, what stays out."""

import json
from collections.abc import Iterator, Mapping
from functools import partial

import pytest
from unsilo_connectors.discovery import connectors
from unsilo_connectors.samples import samples
from unsilo_services.broker.local import free_ports

from tests.services.running import (
    SECRETS,
    Gateway,
    Hub,
    Process,
    caller,
    eventually,
    facts,
    planted,
    running_hub,
    section,
    signed,
    ticket,
)

pytestmark = pytest.mark.kafka

CANARY = "canary-7d1b90c4"
APPLIED_WITHIN_SECONDS = 5.0


class Door:
    """A hub that takes deliveries in and makes events of them."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        (self._port,) = free_ports(1)
        self.gateway: Gateway = hub.start_gateway()
        self.normalizer: Process = hub.start("normalizer", UNSILO_HEALTH_PORT=str(self._port))

    def takes(self, connection: str, body: bytes, headers: Mapping[str, str]) -> bool:
        return self.gateway.post(connection, body, headers).status_code == 202

    def metrics(self) -> str:
        with caller() as client:
            return self.gateway.get("/metrics").text + client.get(f"http://127.0.0.1:{self._port}/metrics").text

    def records(self) -> list[str]:
        """All that is on any topic of the hub, as text."""
        names = [name for name in self.hub.kafka.admin.list_topics().topics if name.startswith(self.hub.prefix)]
        return [repr((message.key(), message.value(), message.headers())) for message in self.hub.read(*names)]


@pytest.fixture
def door(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_hub(kafka_bootstrap, tmp_path_factory.mktemp("hub")) as hub:
        yield Door(hub)


def test_a_connection_that_is_applied_becomes_events_within_seconds(door: Door) -> None:
    """README and docs promise 5 seconds: it is the one time that a test holds."""
    door.hub.connect(section("other", "zendesk"))
    eventually(lambda: door.takes("other", ticket(1), signed("zendesk", ticket(1))))
    eventually(door.hub.events, "the normalizer to be at work")

    def arrives() -> bool:
        door.takes("desk", ticket(2), signed("zendesk", ticket(2)))
        return any(facts(event)["ce_connection"] == "desk" for event in door.hub.events())

    door.hub.connect(section("desk", "zendesk"))
    eventually(arrives, "its event", APPLIED_WITHIN_SECONDS)


def test_no_secret_of_a_delivery_is_on_a_topic_in_a_log_or_in_a_metric(door: Door) -> None:
    door.hub.connect(*(section(name, name) for name in connectors()))
    for name, found in connectors().items():
        recorded = next(each for each in samples(found) if "created" in each.name)
        body, headers = planted(recorded, found.secrets, CANARY)
        broken = json.dumps(dict.fromkeys(found.secrets.fields, CANARY)).encode()[:-1] + b","
        for sent in (json.dumps(body).encode(), broken):
            eventually(partial(door.takes, name, sent, {**headers, **signed(name, sent)}), name)
    eventually(lambda: len({facts(event)["ce_connection"] for event in door.hub.events()}) == len(connectors()))
    eventually(lambda: len(door.hub.dead()) >= len(connectors()), "letters of what is broken")
    everything = [*door.records(), door.gateway.said, door.normalizer.said, door.metrics()]
    assert len(everything) > 4 * len(connectors())
    for secret in (CANARY, *SECRETS.values()):
        assert [found for found in everything if secret in found] == []
