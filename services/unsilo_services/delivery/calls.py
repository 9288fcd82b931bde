"""Makes the calls that actions ask for."""

from collections.abc import Generator, Mapping
from typing import TypeVar

import httpx
from unsilo_connectors.actions import Call, Postponed, Refused, Response

ResultT = TypeVar("ResultT")

CALL_SECONDS = 15.0
_MOST_BYTES = 2 * 1024 * 1024
_MOST_CALLS = 20  # of one attempt: an action that pages for ever must end


def client() -> httpx.AsyncClient:
    """A client that follows no redirect: an answer from elsewhere is no answer."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=100, keepalive_expiry=30)
    return httpx.AsyncClient(timeout=CALL_SECONDS, follow_redirects=False, limits=limits)


async def carry_out(
    http: httpx.AsyncClient,
    steps: Generator[Call, Response, ResultT],
    trace: Mapping[str, str],
) -> tuple[ResultT, Response | None]:
    """Drives an action to its end: what it returns, and the last response. Raises Refused or Postponed."""
    last: Response | None = None
    try:
        call = next(steps)
        for _ in range(_MOST_CALLS):
            last = await _send(http, call, trace)
            call = steps.send(last)
    except StopIteration as end:
        return end.value, last
    finally:
        steps.close()
    raise Refused(f"needs more than {_MOST_CALLS} calls")


async def _send(http: httpx.AsyncClient, call: Call, trace: Mapping[str, str]) -> Response:
    try:
        request = http.build_request(call.method, call.url, headers={**trace, **call.headers}, content=call.body)
        response = await http.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise Postponed("answers without end")
        finally:
            await response.aclose()
    except httpx.InvalidURL:
        raise Refused("has an address that is none: check the connection's settings") from None
    except httpx.UnsupportedProtocol:
        raise Refused("has an address that is neither http nor https: check the connection's settings") from None
    except httpx.HTTPError as error:
        raise Postponed(f"is out of reach ({type(error).__name__})") from None
    return Response(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, bytes(body)
    )
