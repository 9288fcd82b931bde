"""Under which ids the hub acts in a system: when the vendor is asked, what is told, and what an operator reads."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from unsilo_connectors.actions import Postponed
from unsilo_schemas.topics import Topics
from unsilo_services import config_topic
from unsilo_services.cli import checks_hub, connections
from unsilo_services.cli.own_accounts import cannot_ask
from unsilo_services.configuration import Configuration, ConnectionSection, FlowSection, HubSection
from unsilo_services.delivery import accounts
from unsilo_services.delivery.accounts import Accounts
from unsilo_services.kafka import Kafka, KafkaException

from tests.services.running import SECRET, WHSEC

HOUR = 3600.0
TOKEN = {"token": {"env": "SECRET"}}


def chat(settings: Mapping[str, Any] = TOKEN, **more: Any) -> ConnectionSection:
    own = {"signing_secret": {"env": "SECRET"}, **settings}
    return ConnectionSection(id="chat", connector="slack", settings=own, **more)


def sink(**more: Any) -> ConnectionSection:
    settings = {"sending_secret": {"env": "WHSEC"}, "url": "http://sink.test"}
    return ConnectionSection(id="sink", connector="standardwebhooks", settings=settings, **more)


@dataclass
class Asked:
    """Delivery's accounts, with vendors and Kafka that are the test's, and a clock that it sets."""

    now: float = 1000.0
    vendors: list[Future[Any]] = field(default_factory=list)
    """What was asked and is to be answered, in its order."""
    tokens: list[str] = field(default_factory=list)
    published: dict[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.accounts = Accounts(cast(Any, None), cast(Any, None), cast(Any, self))

    def ask(self, name: str, steps: Any) -> Future[Any]:
        """In the place of the lanes."""
        self.vendors.append(Future())
        try:
            self.tokens.append(next(steps).headers["authorization"])
        except StopIteration as end:
            self.vendors[-1].set_result(end.value)
        return self.vendors[-1]

    def publish(self, kafka: Any, topic: Any, name: str, ids: Sequence[str]) -> None:
        self.published[name] = ids

    def look(self, *sections: ConnectionSection, after: float = 0.0) -> None:
        """One turn of delivery's loop, that follows what was published."""
        self.now += after
        found = {section.id: section.model_copy() for section in sections}  # as it is read anew with each change
        self.accounts.look_after(Configuration(HubSection(), found, accounts=dict(self.published)))

    def answer(self, *ids: str, sections: Sequence[ConnectionSection]) -> None:
        self.vendors[-1].set_result(ids)
        self.look(*sections)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setenv("WHSEC", WHSEC)
    monkeypatch.setattr(accounts, "time", SimpleNamespace(monotonic=lambda: found.now))
    monkeypatch.setattr(accounts, "publish_accounts", found.publish)
    return found


def test_a_connection_without_a_token_stays_unknown_and_is_asked_once_it_has_one(
    asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    asked.look(chat({}))
    asked.look(chat({}))
    assert "connection chat has no token: the hub cannot ask who it is there" in caplog.text
    assert (asked.published, asked.tokens) == ({}, [])
    asked.look(chat())
    asked.answer("B1", sections=[chat()])
    assert asked.published == {"chat": ["B1"]}


def test_a_connection_that_has_changed_is_asked_at_once_and_no_other_is(asked: Asked) -> None:
    asked.look(chat())
    asked.answer("B1", sections=[chat()])
    asked.look(chat())
    assert len(asked.vendors) == 1
    moved = chat({**TOKEN, "api_url": "http://elsewhere.test"})
    asked.look(moved)
    asked.answer("B2", sections=[moved])
    assert asked.published == {"chat": ["B2"]}
    assert len(asked.vendors) == 2


def test_a_token_that_changes_in_its_file_is_another_account(asked: Asked, tmp_path: Path) -> None:
    (file := tmp_path / "token").write_text("one")
    kept = chat({"token": {"file": str(file)}})
    asked.look(kept)
    asked.answer("B1", sections=[kept])
    file.write_text("two")
    asked.look(kept, after=20)
    asked.answer("B2", sections=[kept])
    assert asked.tokens == ["Bearer one", "Bearer two"]
    assert asked.published == {"chat": ["B2"]}


def test_an_answer_to_what_a_connection_was_is_not_taken_for_what_it_is(asked: Asked) -> None:
    asked.look(chat())
    moved = chat({**TOKEN, "api_url": "http://elsewhere.test"})
    asked.look(moved)
    late, current = asked.vendors
    assert late.cancelled()
    current.set_result(("B2",))
    asked.look(moved)
    assert asked.published == {"chat": ["B2"]}


def test_a_connection_that_went_and_came_back_is_asked_at_once(asked: Asked) -> None:
    asked.look(chat())
    asked.answer("B1", sections=[chat()])
    asked.look()
    asked.look(chat())
    assert len(asked.vendors) == 2


def test_the_same_is_asked_again_every_hour(asked: Asked) -> None:
    asked.look(chat())
    asked.answer("B1", sections=[chat()])
    asked.look(chat(), after=HOUR - 60)
    assert len(asked.vendors) == 1
    asked.look(chat(), after=120)
    asked.answer("B2", sections=[chat()])
    assert asked.published == {"chat": ["B2"]}


def test_a_vendor_that_does_not_answer_is_asked_again_soon(asked: Asked) -> None:
    asked.look(chat())
    asked.vendors[-1].set_exception(Postponed("answered 503"))
    asked.look(chat())
    asked.look(chat(), after=20)
    asked.answer("B1", sections=[chat()])
    assert asked.published == {"chat": ["B1"]}


def test_a_system_without_accounts_has_none_unless_they_are_configured(asked: Asked) -> None:
    asked.look(sink())
    asked.look(sink())
    assert asked.published == {"sink": []}
    asked.look(sink(own_accounts=("robot",)))
    asked.look(sink(own_accounts=("robot",)), after=2 * HOUR)
    assert len(asked.vendors) == 1


def test_what_keeps_the_hub_from_asking_is_told_from_the_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cannot_ask(chat()) is None
    assert cannot_ask(sink()) is None
    assert cannot_ask(chat({})) == "no token: the hub cannot ask who it is there"
    desk = ConnectionSection(
        id="desk", connector="zendesk", settings={"signing_secret": {"env": "SECRET"}, "subdomain": "acme", **TOKEN}
    )
    assert "email" in (cannot_ask(desk) or "")


@pytest.mark.parametrize(
    ("section", "known", "says"),
    [
        (chat({}), {}, "no token: the hub cannot ask who it is there"),
        (chat(), {}, "not known yet: delivery asks for them"),
        (chat(), {"chat": ["B1"]}, ["B1"]),
        (chat({}, own_accounts=()), {"chat": []}, "none: `own_accounts` in unsilo.yaml is empty"),
        (sink(), {"sink": []}, "none: it has no accounts, unless `own_accounts` in unsilo.yaml names some"),
    ],
)
def test_a_connection_is_shown_with_what_is_known_of_its_accounts(
    section: ConnectionSection, known: Mapping[str, Sequence[str]], says: Any
) -> None:
    found = Configuration(HubSection(), {section.id: section}, accounts=known)
    assert connections._accounts(cast(Any, SimpleNamespace(configuration=found)), section) == says


@pytest.mark.parametrize(
    ("settings", "says", "remedy"),
    [({}, "no token: the hub cannot ask", "set it in unsilo.yaml"), (TOKEN, "every event from there waits", "its log")],
)
def test_the_doctor_says_why_an_account_is_not_known(settings: Mapping[str, Any], says: str, remedy: str) -> None:
    flow = FlowSection.model_validate(
        {"id": "f", "on": "ticket.ticket.created", "do": [{"deliver": "chat", "action": "post"}]}
    )
    found = Configuration(HubSection(), {"chat": chat(settings)}, {"f": flow})
    examination = cast(Any, SimpleNamespace(hub=SimpleNamespace(configuration=found)))
    [finding] = checks_hub.accounts(examination)
    assert says in finding.what
    assert remedy in finding.remedy


def test_ids_that_kafka_does_not_take_are_not_taken_for_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_topic, "_PUBLISH_SECONDS", 0.2)
    nowhere = Kafka({"bootstrap.servers": "127.0.0.1:1"})
    with pytest.raises(KafkaException):
        config_topic.publish_accounts(nowhere, Topics("hub").config(), "chat", ["U1"])
