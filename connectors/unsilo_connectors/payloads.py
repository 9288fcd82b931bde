"""Reading bodies: JSON, and the many ways in which vendors write a moment. And writing down a place in an entity."""

import re
from codecs import BOM_UTF8
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from .contract import MalformedWebhook

ModelT = TypeVar("ModelT", bound=BaseModel)
ValueT = TypeVar("ValueT")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What most vendors send, and what Python reads by itself in a fraction of the time.
_USUAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:?\d\d)", re.ASCII)
_RFC3339_LIKE = re.compile(
    r"(?P<head>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?(?P<zone>Z|[+-]\d\d:?\d\d| UTC)?$",
    re.IGNORECASE,
)


def read_json(body: bytes) -> Any:
    """Any JSON value: integers at any size, other numbers as Decimal, exactly as they are written.

    A byte order mark before it is passed over (RFC 8259 section 8.1); half a surrogate pair, which a sender makes that
    cuts a text off within an emoji, is read as U+FFFD. MalformedWebhook for what is not JSON, `NaN` and broken UTF-8
    included, and for numbers that no machine would take.
    """
    return _mending(_parsed, body)


def _mending(read: Callable[[bytes], ValueT], body: bytes) -> ValueT:
    try:
        return read(body)
    except MalformedWebhook:
        mended = _mended(body)
        if mended == body:
            raise
        return read(mended)


def _mended(body: bytes) -> bytes:
    text = body.removeprefix(BOM_UTF8)
    if _MAYBE_HALF.search(text):
        return _HALVES.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], text)
    return text


def _parsed(body: bytes) -> Any:
    try:
        return _decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise MalformedWebhook(f"not JSON: {_position(str(error))}") from None


def write_json(value: Any) -> bytes:
    """What `read_json` has read, or a part of it, as JSON, names in their order."""
    return _encode(value)


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if abs(number.adjusted()) > _MOST_DIGITS or len(text) > _MOST_DIGITS:
        raise ValueError("a number beyond all bounds")
    return number


_HALF = rb"\\u[dD][%b][0-9a-fA-F]{2}"
_MAYBE_HALF = re.compile(_HALF % b"89a-fA-F")
_HALVES = re.compile(  # and escaped backslashes, for what follows one is no escape
    rb"%b%b|(%b)|\\\\" % (_HALF % b"89abAB", _HALF % b"c-fC-F", _HALF % b"89a-fA-F")
)
_MOST_DIGITS = 400  # somewhat more than a double reaches
_decode = msgspec.json.Decoder(float_hook=_number).decode
_encode = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object; MalformedWebhook for anything else."""
    value = read_json(body)
    if not isinstance(value, dict):
        raise MalformedWebhook("not a JSON object")
    return value


def read_model(model: type[ModelT], body: bytes) -> ModelT:
    """A body with the fields that a mapping needs; MalformedWebhook names those that are missing or of another type.

    Of its JSON holds what `read_json` says.
    """
    return _mending(partial(_validated, model), body)


def _validated(model: type[ModelT], body: bytes) -> ModelT:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise MalformedWebhook(describe(error)) from None


def read_text(value: Any, place: str) -> str:
    """A text that says something; MalformedWebhook names the place of anything else."""
    if isinstance(value, str) and value:
        return value
    raise MalformedWebhook(f"{place}: not a text")


def read_id(value: Any, place: str) -> str:
    """An id as text, which vendors write as a number or as a text; MalformedWebhook for anything else."""
    if type(value) is int:  # not `isinstance`: true is no id
        return str(value)
    if isinstance(value, str) and value:
        return value
    raise MalformedWebhook(f"{place}: not an id")


def describe(error: ValidationError) -> str:
    """What a validation found, by place and kind, without the values it found there."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(str(step) for step in fault['loc']) or 'body'}: {_kind(fault['type'], fault['msg'])}"
        for fault in found[:5]
    )


def moment(text: str) -> datetime:
    """A moment written much like RFC 3339; UTC where no zone is given.

    Takes what vendors send: nine or seven digits of fraction (cut to microseconds), an offset without colon, a blank
    for the `T`, no zone at all. MalformedWebhook for anything else.
    """
    try:
        if _USUAL.fullmatch(text):
            return _in_utc(datetime.fromisoformat(text))
        match = _RFC3339_LIKE.match(text)
        if match is None:
            raise MalformedWebhook("a time in none of the known notations")
        zone = (match["zone"] or "Z").strip().upper().replace("UTC", "Z")
        seconds = datetime.fromisoformat(match["head"].replace(" ", "T") + ("+00:00" if zone == "Z" else zone))
        return _in_utc(seconds.replace(microsecond=int((match["fraction"] or "0")[:6].ljust(6, "0"))))
    except (ValueError, OverflowError):
        raise MalformedWebhook("a time that no calendar has") from None


def epoch(seconds: str | float) -> datetime:
    """A moment in Unix seconds, as number or as decimal text, exact to the microsecond."""
    whole, _, fraction = str(seconds).partition(".")
    try:
        micros = int(fraction[:6].ljust(6, "0"))
        if micros >= 0:
            return _EPOCH + timedelta(seconds=int(whole), microseconds=micros)
    except (ValueError, OverflowError):
        pass
    raise MalformedWebhook("a time that is not in Unix seconds")


def pointer(*steps: str) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join(["/" + step.replace("~", "~0").replace("/", "~1") for step in steps])


def _in_utc(time: datetime) -> datetime:
    return time if time.tzinfo is UTC else time.astimezone(UTC)


def _position(message: str) -> str:
    """Where, of what either of the parsers says: never what stands there."""
    match = re.search(r"at line \d+ column \d+|byte \d+", message)
    return match[0] if match else "unreadable"


def _kind(kind: str, message: str) -> str:
    return "broken JSON " + _position(message) if kind == "json_invalid" else kind
