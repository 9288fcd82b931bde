"""Bodies are read as they are written: no number changes on the way."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import RootModel
from unsilo_connectors.contract import MalformedWebhook
from unsilo_connectors.payloads import read_json, read_model, write_json
from unsilo_schemas.ticket import TICKET
from unsilo_schemas.writer import writer

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_read_is_what_was_written(value: Any) -> None:
    body = json.dumps(value).encode()
    assert json.loads(write_json(read_json(body))) == value


@pytest.mark.parametrize(
    "number",
    ["12345678901234567.89", "0.1234567890123456789", "99.90", "1" * 60, "-0.00000000000000000001", "1.5E+20"],
)
def test_a_number_is_told_to_its_last_digit(number: str) -> None:
    ref = {"system": "s", "connection": "c", "type": "ticket", "id": "1"}
    entity = {"id": "i", "refs": [ref], "custom": {"n": read_json(number.encode())}}
    written = writer(TICKET["created"].data).write({"entity": entity, "changed": [], "complete": True})
    said = json.loads(written, parse_float=str, parse_int=str)["entity"]["custom"]["n"]
    assert (
        said == number or float(said) == float(number) == 1.5e20 or said == f"{float(number):.0E}".replace("E-", "E-")
    )


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"cut \ud83d"', "cut \ufffd"),
        (rb'{"\uDE00a":"\ud83d\n"}', {"\ufffda": "\ufffd\n"}),
        (rb'["\ud83d\ud83d\ude00", "\ud83d\u0041"]', ["\ufffd\U0001f600", "\ufffdA"]),
        (rb'["\\ud83d", "\ud83d"]', ["\\ud83d", "\ufffd"]),
        (b"\xef\xbb\xbf[1]", [1]),
        (b'\xef\xbb\xbf"\\ud83d"', "\ufffd"),
    ],
)
def test_half_a_character_or_a_byte_order_mark_spoils_nothing(body: bytes, value: object) -> None:
    assert read_json(body) == value
    assert read_model(RootModel[Any], body).root == value


@given(st.text(st.characters(categories=["Cs", "Ll"]) | st.sampled_from("\\u\U0001f600"), max_size=20))
def test_reads_whatever_a_sender_writes_that_cuts_texts_off_anywhere(text: str) -> None:
    told = read_json(json.dumps(text).encode())
    assert told == re.sub(
        "[\ud800-\udfff]", "\ufffd", text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    )


@pytest.mark.parametrize(
    "body",
    [
        b"1e999", b"-1e999", b"1e-999999999", b"[NaN]", b"[Infinity]", b'{"a":}', b"", b"\xff", b'"\xff"',
        b"[" * 100_000, b"\xef\xbb\xbf" * 5000, b'{"a":1} x', b"1." + b"1" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_json_or_no_number_for_a_machine_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedWebhook, match=r"^not JSON: "):
        read_json(body)
