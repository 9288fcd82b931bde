"""What a process is told by its environment."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from unsilo_services.configuration import Configuration
from unsilo_services.local_hub import LocalHub
from unsilo_services.settings import HubSettings, kafka_options, note_addresses


def test_options_of_any_cluster_are_passed_through(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "BOOTSTRAP": "kafka.example.org:9096",
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "SCRAM-SHA-512",
        "SASL_USERNAME": "hub",
        "SASL_PASSWORD": "secret",
        "SSL_CA_LOCATION": "/etc/ssl/kafka.pem",
    }
    for name, value in told.items():
        monkeypatch.setenv(f"UNSILO_KAFKA_{name}", value)
    assert kafka_options(HubSettings()) == {
        "bootstrap.servers": "kafka.example.org:9096",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "hub",
        "sasl.password": "secret",
        "ssl.ca.location": "/etc/ssl/kafka.pem",
    }


def test_a_cluster_may_be_named_as_librdkafka_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UNSILO_KAFKA_BOOTSTRAP", raising=False)
    monkeypatch.setenv("UNSILO_KAFKA_BOOTSTRAP_SERVERS", "elsewhere:9092")
    assert kafka_options(HubSettings()) == {"bootstrap.servers": "elsewhere:9092"}
    assert LocalHub(HubSettings(data=tmp_path), ephemeral=True, workers=1, say=print).broker is None


def test_a_cluster_that_is_named_counts_before_the_hub_that_runs_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = HubSettings(data=tmp_path)
    note_addresses(settings, {"bootstrap": "127.0.0.1:4711"})
    monkeypatch.delenv("UNSILO_KAFKA_BOOTSTRAP", raising=False)
    assert kafka_options(settings)["bootstrap.servers"] == "127.0.0.1:4711"
    monkeypatch.setenv("UNSILO_KAFKA_BOOTSTRAP", "elsewhere:9092")
    assert kafka_options(settings)["bootstrap.servers"] == "elsewhere:9092"


@pytest.mark.parametrize("given", [None, "https://hub.example.org"])
def test_services_that_are_told_no_address_for_vendors_take_the_gateways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str | None
) -> None:
    started: dict[str, Mapping[str, str]] = {}

    def start(name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        started[name] = environment

    if given:
        monkeypatch.setenv("UNSILO_PUBLIC_URL", given)
    hub = LocalHub(HubSettings(data=tmp_path, gateway_port=0), ephemeral=True, workers=1, say=print)
    monkeypatch.setattr(hub.supervisor, "start", start)
    hub.start_services()
    assert {name for name, told in started.items() if "UNSILO_GATEWAY_PORT" in told} == {"gateway"}
    for environment in started.values():
        with monkeypatch.context() as process:
            for name, value in environment.items():
                process.setenv(name, value)
            assert Configuration.empty().hub.public_url == (given or hub.gateway)
