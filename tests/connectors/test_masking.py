"""Secrets inside a body are taken out of it, and nothing else is touched."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unsilo_connectors.contract import Secrets
from unsilo_connectors.masking import MASK, masked_body, masked_headers

SECRETS = Secrets(fields=("token", "private_key"))
CANARY = "canary-5b1f"

TEXT = st.text() | st.sampled_from(
    ["https://a.example/f?alt=media&token=abc&x=1", '"token": "no"', "&token=", "token="]
)
VALUES = st.recursive(
    TEXT | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "url", "blocks"]), inner),
    max_leaves=10,
)


@given(body=st.dictionaries(st.sampled_from(["a", "text", "token", "files"]), VALUES, min_size=1), spaced=st.booleans())
def test_a_field_of_that_name_is_all_that_changes_in_json(body: dict[str, Any], spaced: bool) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    written = json.dumps(body, ensure_ascii=False, separators=separators).encode(errors="surrogatepass")
    expected = {**body, "token": MASK} if isinstance(body.get("token"), str) else body
    assert json.loads(masked_body(written, SECRETS).decode(errors="surrogatepass")) == expected


@pytest.mark.parametrize(
    "body",
    [
        f'{{"a": [{{"token" : "{CANARY}"}}]}}',
        f'{{"token": "{CANARY}\\" and more", "broken": ',
        f'{{"token": "{CANARY} without end',
        f"token={CANARY}&text=a%26b",
        f"text=a&private_key={CANARY}",
    ],
)
def test_secrets_are_gone_however_the_body_is_written(body: str) -> None:
    masked = masked_body(body.encode(), SECRETS).decode()
    assert CANARY not in masked
    assert MASK in masked


def test_what_stands_around_a_secret_in_a_form_stays() -> None:
    assert masked_body(b"a=1&token=abc&b=token%3D2", SECRETS) == b"a=1&token=[masked]&b=token%3D2"


@pytest.mark.parametrize(
    ("header", "hidden"),
    [
        ("authorization", True), ("proxy-authorization", True), ("cookie", True), ("set-cookie", True),
        ("x-api-key", True), ("api-key", True), ("x-our-key", True), ("x-auth-token", True), ("x_access_token", True),
        ("x-goog-channel-token", True), ("x-session-id", True), ("apikey", True),
        ("idempotency-key", False), ("x-zendesk-webhook-signature", False), ("x-zendesk-webhook-invocation-id", False),
        ("x-slack-request-timestamp", False), ("webhook-id", False), ("user-agent", False), ("author", False),
        ("x-keyboard", False), ("x-monkey-business", False),
    ],
)  # fmt: skip
def test_a_header_that_is_named_like_a_secret_is_masked_and_no_other(header: str, hidden: bool) -> None:
    assert (masked_headers({header: CANARY}, SECRETS)[header] == MASK) == hidden
