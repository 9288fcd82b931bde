"""Makes the calls that actions ask for."""

import asyncio
import os
import socket
import ssl
from collections.abc import Generator, Mapping
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TypeVar

import httpx
from unsilo_connectors.actions import Call, Postponed, Refused, Response

ResultT = TypeVar("ResultT")

CALL_SECONDS = 15.0  # from the connection to the last byte of the answer
MOST_BYTES = 8 * 1024 * 1024  # of an answer; a page of a busy channel's history has one or two
MOST_CALLS = 40  # of one attempt: an action that pages for ever must end


def client(calls: int) -> httpx.AsyncClient:
    """A client for one connection, for so many calls at a time.

    It follows no redirect, since an answer from elsewhere is no answer, and keeps no cookies, since two connections to
    one system would share them.
    """
    limits = httpx.Limits(max_connections=calls, max_keepalive_connections=calls, keepalive_expiry=30)
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(
        timeout=CALL_SECONDS, follow_redirects=False, limits=limits, cookies=cookies, verify=_trusted()
    )


async def carry_out(
    http: httpx.AsyncClient,
    steps: Generator[Call, Response, ResultT],
    trace: Mapping[str, str],
) -> tuple[ResultT, Response | None]:
    """Drives an action to its end: what it returns, and the last response. Raises Refused or Postponed."""
    last: Response | None = None
    try:
        call = next(steps)
        for _ in range(MOST_CALLS):
            last = await _send(http, call, trace)
            call = steps.send(last)
    except StopIteration as end:
        return end.value, last
    finally:
        steps.close()
    raise Refused(f"needs more than {MOST_CALLS} calls")


async def _send(http: httpx.AsyncClient, call: Call, trace: Mapping[str, str]) -> Response:
    try:
        async with asyncio.timeout(CALL_SECONDS):
            return await _answer(http, call, trace)
    except httpx.InvalidURL:
        raise Refused("has an address that is none: check the connection's settings") from None
    except httpx.UnsupportedProtocol:
        raise Refused("has an address that is neither http nor https: check the connection's settings") from None
    except (UnicodeEncodeError, httpx.LocalProtocolError):  # the message of either holds the header
        raise Refused("would need a header that HTTP does not have: check the connection's secret") from None
    except httpx.HTTPError as error:
        raise Postponed(f"is out of reach at {_host(call.url)} ({_cause(error)})") from None
    except TimeoutError:
        raise Postponed(f"takes more than {CALL_SECONDS:.0f} seconds for an answer") from None


async def _answer(http: httpx.AsyncClient, call: Call, trace: Mapping[str, str]) -> Response:
    request = http.build_request(call.method, call.url, headers={**trace, **call.headers}, content=call.body)
    response = await http.send(request, stream=True)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MOST_BYTES:
                raise Postponed("answers without end")
    finally:
        await response.aclose()
    return Response(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, bytes(body)
    )


@cache
def _trusted() -> ssl.SSLContext:
    """Whom we trust, read once: every connection has a client of its own."""
    return httpx.create_ssl_context()


def _host(url: str) -> str:
    """Where a call goes, without what may hold a secret: the path, the query, and whoever is named before an @."""
    address = httpx.URL(url)
    return address.host + (f":{address.port}" if address.port else "")


def _cause(error: BaseException) -> str:
    """What the system said, as far as it did; else the kind of the error."""
    deeper: BaseException | None = error
    while deeper is not None:
        if isinstance(deeper, (ssl.SSLError, socket.gaierror)) and deeper.strerror:
            return deeper.strerror
        if isinstance(deeper, OSError) and deeper.errno:
            return os.strerror(deeper.errno)
        deeper = deeper.__cause__ or deeper.__context__
    return type(error).__name__
