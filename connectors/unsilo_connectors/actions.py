"""Writing to a system: what an action is told, the calls it wants made, and what it says came of them.

An action makes no call itself. It is a generator that yields each call and is sent the response, so that retries,
time-outs, rate limits and idempotency are the delivery service's alone, and an action is tested without a network.
"""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue

ArgumentsT = TypeVar("ArgumentsT", bound="Arguments")
ConnectionT = TypeVar("ConnectionT")


class Arguments(BaseModel):
    """What a flow gives to an action. Texts are templates there, and plain texts here."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Target:
    """An object in the system that is written to, in its own terms."""

    type: str
    id: str
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Command(Generic[ConnectionT, ArgumentsT]):
    """One intent to write, once its turn has come.

    `key` is the idempotency key: the same on every attempt, and in whatever marker the system lets us leave. `repeated`
    says that an earlier attempt may have gone through without our knowing: where the system has no idempotency of its
    own, the action looks for the marker before it writes again. `at` is when this attempt starts, since an action has
    no clock; `issued` is when the command was given, the same on every attempt.
    """

    connection: ConnectionT
    key: str
    arguments: ArgumentsT
    at: datetime  # aware
    issued: datetime  # aware
    target: Target | None = None
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request to be made."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # they carry credentials
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """What came back."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON; Postponed where it is none: a proxy or a sleeping instance answered, not the system."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):  # the latter for brackets without end
            raise Postponed(f"answered {self.status} with something that is not JSON") from None

    def object(self) -> Mapping[str, Any]:
        """The body as a JSON object; Postponed as in `json` where it is none."""
        value = self.json()
        if not isinstance(value, dict):
            raise Postponed(f"answered {self.status} with something that is no JSON object")
        return value


@dataclass(frozen=True, slots=True)
class Written:
    """One object that a call created or changed: what an echo of it is known by.

    `fields` are JSON Pointers into its entity; None says that the object was created, so that all of it is ours.
    """

    type: str
    id: str
    scope: str = ""
    url: str | None = None
    fields: Sequence[str] | None = None


class Refused(Exception):
    """The system will never take this command. It becomes a dead letter; the message never holds its content."""


class Postponed(Exception):
    """The system does not take this command now. It is tried again, at the earliest after `retry_after`.

    With `whole_connection`, everything else for this connection waits as long: it is the account that is too fast.
    """

    def __init__(self, why: str, retry_after: timedelta | None = None, whole_connection: bool = False) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        self.whole_connection = whole_connection


Steps = Generator[Call, Response, Sequence[Written]]


@dataclass(frozen=True)
class Action:
    """One thing that can be written. The first of what `perform` returns is the object that now mirrors the event's.

    `internal` says whether what it writes is seen by colleagues only, whatever the connection's audience.
    `target_type` is the type of object that it is about, where it is about one that exists: a reply's post.
    """

    title: str
    arguments: type[Arguments]
    perform: Callable[[Any], Steps]
    target_type: str | None = None
    internal: Callable[[Any], bool] = lambda arguments: False


def json_call(method: str, url: str, body: JsonValue, headers: Mapping[str, str] | None = None) -> Call:
    """A call with a JSON body."""
    return Call(
        method,
        url,
        {"content-type": "application/json; charset=utf-8", **(headers or {})},
        json.dumps(body, ensure_ascii=False).encode(errors="replace"),  # half a surrogate pair says nothing
    )


def checked(response: Response) -> Response:
    """The response, if it says that the call was done; else Refused or Postponed by what its status means."""
    status = response.status
    if 200 <= status < 300:
        return response
    wait = retry_after(response)
    if status == 429:
        raise Postponed("too many requests (429)", wait or timedelta(seconds=1), whole_connection=True)
    if status in (408, 425) or status >= 500:
        raise Postponed(f"answered {status}", wait, whole_connection=wait is not None)
    raise Refused(_MEANINGS.get(status, f"answered {status}"))


def retry_after(response: Response) -> timedelta | None:
    """How long `Retry-After` asks to wait, in seconds or until a date (RFC 9110 section 10.2.3), a day at most.

    A date is compared with the answer's own `Date`, so that it does not matter whose clock is right.
    """
    text = response.headers.get("retry-after", "")
    if text.isdecimal():
        return min(timedelta(seconds=int(text[:9])), _LONGEST_WAIT)  # int() refuses endless digits
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(response.headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):  # the second: one has a zone and the other none
        return None
    return min(max(wait, timedelta()), _LONGEST_WAIT)


_LONGEST_WAIT = timedelta(days=1)
_MEANINGS = {
    400: "calls the request wrong (400): check the flow's arguments",
    401: "refuses the credentials (401): check the connection's secret",
    403: "does not allow this to the account (403): check its permissions",
    404: "does not know the object (404): it may have been deleted",
    410: "has no such object any more (410)",
    413: "finds the content too large (413)",
    422: "refuses the content (422): check the flow's arguments",
}
