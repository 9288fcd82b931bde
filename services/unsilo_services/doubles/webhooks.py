"""How a double tells the hub what happened: by signed requests, as the system itself would."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

log = logging.getLogger(__name__)

_PAUSES_SECONDS = (0.0, 1.0, 5.0)  # in the place of the vendors' minutes
_TIMEOUT_SECONDS = 12.0


def now() -> datetime:
    return datetime.now(UTC)


class Webhooks:
    """Signs and posts bodies to one address. Without an address they are only remembered.

    What the hub does not take for reasons that may pass (no connection, 409, 429, 5xx) is sent up to three times more.
    """

    def __init__(
        self,
        address: str | None,
        write: Callable[[Mapping[str, Any]], bytes],
        headers: Callable[[bytes, datetime], Mapping[str, str]],
        retry_headers: Callable[[int, int | None], Mapping[str, str]] = lambda number, status: {},
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], datetime] = now,
        pauses: Sequence[float] = _PAUSES_SECONDS,
    ) -> None:
        self.sent: list[dict[str, Any]] = []
        self._address = address
        self._write = write
        self._headers = headers
        self._retry_headers = retry_headers
        self._client = httpx.AsyncClient(transport=transport, timeout=_TIMEOUT_SECONDS)
        self._clock = clock
        self._pauses = pauses

    async def deliver(self, body: Mapping[str, Any]) -> int | None:
        """Tells the hub, and returns its last answer's status; None where it could not be reached."""
        written = self._write(body)
        record: dict[str, Any] = {"body": body, "status": None, "attempts": 0}
        self.sent.append(record)
        status: int | None = None
        for number, pause in enumerate((0.0, *self._pauses)):
            if self._address is None:
                break
            await asyncio.sleep(pause)
            headers = {
                **self._headers(written, self._clock()),
                **(self._retry_headers(number, status) if number else {}),
            }
            status = await self._post(self._address, written, headers)
            record.update(status=status, attempts=number + 1)
            if not _may_pass(status):
                break
        if self._address is not None and (status is None or status >= 300):
            log.warning("the hub did not take a webhook: its answer was %s", status)
        return status

    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, address: str, body: bytes, headers: Mapping[str, str]) -> int | None:
        try:
            answer = await self._client.post(address, content=body, headers=dict(headers))
        except httpx.HTTPError:
            return None
        return answer.status_code


def _may_pass(status: int | None) -> bool:
    return status is None or status in (409, 429) or status >= 500
