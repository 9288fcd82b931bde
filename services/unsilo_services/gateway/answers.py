"""Every answer that a sender can get, as RFC 9457 problem details where it is a refusal."""

from dataclasses import dataclass, field

from pydantic_core import to_json


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal. `name` ends its `type`; `retry_after` is in seconds, where the sender should wait."""

    status: int
    name: str
    title: str
    retry_after: int | None = None
    body: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        problem = {"type": f"urn:unsilo:problem:{self.name}", "title": self.title, "status": self.status}
        object.__setattr__(self, "body", to_json(problem))


UNTRUSTED = Problem(401, "untrusted", "The request does not prove its sender, or there is no such address.")
BROKEN_HTTP = Problem(400, "broken", "The request's framing or content coding is broken.")
NO_ADDRESS = Problem(404, "no_address", "There is nothing here. Deliveries come to /in/CONNECTION.")
WRONG_METHOD = Problem(405, "wrong_method", "This address takes another method. Deliveries come by POST.")
TOO_LARGE = Problem(413, "too_large", "The body is larger than this address takes.")
WRONG_TYPE = Problem(415, "wrong_type", "This address takes other content types or codings.")
TOO_FAST = Problem(429, "too_fast", "More than this address takes in a minute.", retry_after=30)
HEAD_TOO_LARGE = Problem(431, "head_too_large", "The request's headers are larger than any vendor's.")
UNAVAILABLE = Problem(503, "unavailable", "The delivery could not be stored in time. Send it again.", retry_after=5)
TOO_SLOW = Problem(503, "too_slow", "The body did not come in time. Send it again.", retry_after=5)
PROBLEMS = (
    BROKEN_HTTP, UNTRUSTED, NO_ADDRESS, WRONG_METHOD, TOO_LARGE, WRONG_TYPE, TOO_FAST, HEAD_TOO_LARGE, UNAVAILABLE,
)  # fmt: skip

PROBLEM_TYPE = "application/problem+json"  # RFC 9457

UNKNOWN = "unknown"  # the connection of what is counted and belongs to none
STORED = "stored"
HANDSHAKE = "handshake"
GONE = "gone"
TURNED_AWAY = "turned_away"
