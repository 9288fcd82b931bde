"""Standard Webhooks: what the hub sends itself, and the official library's opinion of it."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from unsilo_connectors.actions import Call, Command, Postponed, Refused, Response, Written
from unsilo_connectors.contract import Connection, WebhookRequest
from unsilo_connectors.secrets import Resolved
from unsilo_connectors.standardwebhooks import connector

SECRET = "whsec_dW5zaWxvLXNhbXBsZS1zZWNyZXQsIHB1Ymxpc2hlZDogaXQgcHJvdGVjdHMgbm90aGluZw=="
OTHER = "whsec_YW5vdGhlciBzZWNyZXQsIGp1c3QgYXMgcHVibGlzaGVk"
KEY = "c1f6b0b2-6f0e-5f8c-9d8e-0a6f3f0f7c11"
NOW = datetime(2026, 3, 4, 10, 21, 9, 250_000, tzinfo=UTC)
URL = "https://receiver.example/hook?tenant=7"

ANSWERS = st.builds(
    Response,
    st.integers(100, 599),
    st.dictionaries(st.just("retry-after"), st.text() | st.sampled_from(["7", "9" * 5000])),
    st.binary(),
)


def here(**changed: Any) -> Connection[Any]:
    known = {"secret": Resolved(SECRET), "url": URL, "sending_secret": Resolved(SECRET)}
    return Connection("kettle", "standardwebhooks", connector.settings.model_validate({**known, **changed}))


def command(at: datetime = NOW, connection: Connection[Any] | None = None, **arguments: Any) -> Command[Any, Any]:
    given = connector.actions["send"].arguments.model_validate(
        {"type": "deal.won", "data": {"name": "Zoë's »weaving« hall"}, **arguments}
    )
    return Command(connection or here(), KEY, given, at, NOW)


def call(of: Command[Any, Any]) -> Call:
    return next(connector.actions["send"].perform(of))


def outcome(response: Response) -> Sequence[Written]:
    steps = connector.actions["send"].perform(command())
    next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(response)
    return list(end.value.value)


def answer(status: int, **headers: str) -> Response:
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def as_received(sent: Call) -> tuple[bytes, Mapping[str, str]]:
    assert sent.body is not None
    return sent.body, sent.headers


def test_sends_what_the_official_library_trusts() -> None:
    body, headers = as_received(call(command(at=datetime.now(UTC), timestamp="2026-03-04T11:21:07+01:00")))
    assert standardwebhooks.Webhook(SECRET).verify(body, dict(headers)) == {
        "type": "deal.won",
        "timestamp": "2026-03-04T10:21:07Z",
        "data": {"name": "Zoë's »weaving« hall"},
    }


def test_sends_what_our_own_inbound_half_trusts() -> None:
    body, headers = as_received(call(command()))
    connector.verify(WebhookRequest(here(), headers, body, NOW))


def test_signs_with_both_secrets_while_one_takes_the_others_place() -> None:
    now = datetime.now(UTC)
    body, headers = as_received(
        call(command(at=now, connection=here(sending_secret=[Resolved(SECRET), Resolved(OTHER)])))
    )
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (SECRET, OTHER):
        standardwebhooks.Webhook(secret).verify(body, dict(headers))


def test_keeps_the_id_and_renews_the_time_when_it_tries_again() -> None:
    first, second = call(command()), call(command(at=NOW + timedelta(minutes=7)))
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == KEY
    assert (first.headers["webhook-timestamp"], second.headers["webhook-timestamp"]) == ("1772619669", "1772620089")
    assert (first.method, first.url) == ("POST", URL)


def test_tells_the_time_of_sending_where_no_other_is_given() -> None:
    assert json.loads(call(command()).body or b"")["timestamp"] == "2026-03-04T10:21:09.250000Z"


def test_takes_a_text_as_data_as_well() -> None:
    assert json.loads(call(command(data="Oven 3 is cold")).body or b"")["data"] == "Oven 3 is cold"


@pytest.mark.parametrize(
    "wrong", [{"type": "deal won"}, {"type": ".won"}, {"type": ""}, {"timestamp": "2026-03-04T10:21:07"}, {"data": 7}]
)
def test_takes_no_arguments_that_the_specification_does_not(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        command(**wrong)


def test_knows_its_message_by_the_key() -> None:
    assert outcome(answer(202)) == [Written("delivery", KEY)]


@pytest.mark.parametrize(
    ("status", "consequence", "words"),
    [
        (410, Refused, "retired"),
        (301, Refused, "redirects"),
        (307, Refused, "redirects"),
        (400, Refused, "400"),
        (429, Postponed, "429"),
        (502, Postponed, "502"),
        (504, Postponed, "504"),
        (500, Postponed, "500"),
    ],
)
def test_knows_by_the_status_whether_to_try_again(status: int, consequence: type[Exception], words: str) -> None:
    with pytest.raises(consequence, match=words):
        outcome(answer(status))


@pytest.mark.parametrize("status", [429, 502, 504])
def test_slows_down_when_asked(status: int) -> None:
    with pytest.raises(Postponed) as postponed:
        outcome(answer(status, retry_after="30"))
    assert postponed.value.retry_after == timedelta(seconds=30)
    assert postponed.value.whole_connection


@pytest.mark.parametrize("without", ["url", "sending_secret"])
def test_sends_nothing_without_address_and_secret_and_names_the_settings(without: str) -> None:
    with pytest.raises(Refused, match=f"`{without}`"):
        call(command(connection=here(**{without: None})))


@pytest.mark.parametrize("secret", ["whsec_", "whsec_canaryabc", "whsec_canaryø"])
def test_refuses_to_sign_with_what_is_no_key(secret: str) -> None:
    with pytest.raises(Refused, match="whsec_") as refused:
        call(command(connection=here(sending_secret=Resolved(secret))))
    assert "canary" not in str(refused.value)


def test_shows_the_secret_to_nobody() -> None:
    sent = command()
    assert SECRET not in repr(sent) + repr(call(sent))
    with pytest.raises(ValidationError) as refused:
        here(sending_secret="canary in a file")
    assert "canary" not in str([error["msg"] for error in refused.value.errors(include_input=False)])


def test_is_written_to_as_nobody() -> None:
    assert list(connector.whoami(here())) == []


@given(ANSWERS)
def test_ends_well_or_with_a_known_consequence_whatever_is_answered(response: Response) -> None:
    steps = connector.actions["send"].perform(command())
    next(steps)
    with pytest.raises((StopIteration, Refused, Postponed)):
        steps.send(response)


def test_says_the_same_on_every_attempt() -> None:
    bodies = {call(command(at=NOW + timedelta(hours=late))).body for late in (0, 1, 20)}
    assert len(bodies) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        ({"retry_after": "Wed, 04 Mar 2026 10:22:09 GMT", "date": "Wed, 04 Mar 2026 10:21:09 GMT"}, 60),
        ({"retry_after": "Wed, 04 Mar 2026 10:20:09 GMT", "date": "Wed, 04 Mar 2026 10:21:09 GMT"}, 0),
        ({"retry_after": "Wed, 04 Mar 2099 10:20:09 GMT", "date": "Wed, 04 Mar 2026 10:21:09 GMT"}, 86_400),
        ({"retry_after": "Wed, 04 Mar 2026 10:22:09 GMT"}, None),
        ({"retry_after": "soon", "date": "Wed, 04 Mar 2026 10:21:09 GMT"}, None),
    ],
)
def test_waits_as_long_as_it_is_asked_to(headers: dict[str, str], seconds: int | None) -> None:
    with pytest.raises(Postponed) as wait:
        outcome(answer(429, **headers))
    assert wait.value.retry_after == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize("with_public", [False, True])
def test_signs_with_a_private_key_what_its_public_one_trusts(with_public: bool) -> None:
    seed = bytes(range(32))
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    private = "whsk_" + base64.b64encode(seed + public if with_public else seed).decode()
    sent = call(command(connection=here(sending_secret=Resolved(private))))
    body, headers = as_received(sent)
    assert headers["webhook-signature"].startswith("v1a,")
    there = here(secret=Resolved("whpk_" + base64.b64encode(public).decode()))
    connector.verify(WebhookRequest(there, headers, body, NOW))


def test_a_connection_may_receive_only() -> None:
    known = {"secret": Resolved(SECRET)}
    assert replace(here(), settings=connector.settings.model_validate(known)).settings.url is None
