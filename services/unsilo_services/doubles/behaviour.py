"""What all doubles share: being told to fail, delay or echo, and remembering what arrived."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask

from .webhooks import Webhooks

_SHOWN = ("idempotency-key", "webhook-id")  # of an arrival's headers; never those with credentials


class Behaviour(BaseModel):
    """How a double answers from now on. Counts are of calls to the system's own paths, and go down with each."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    rate_limit_next: int = Field(default=0, ge=0, description="calls that are answered 429, and do nothing")
    retry_after_seconds: int = Field(default=1, ge=0, description="what those are told")
    fail_next: int = Field(default=0, ge=0, description="calls that fail, and do nothing")
    lose_next: int = Field(default=0, ge=0, description="calls that are done, and seem to fail all the same")
    status: int = Field(default=503, ge=300, le=599, description="what both kinds of failure are answered")
    error: str | None = Field(default=None, description="the system's word for the failure of `fail_next`")
    delay_seconds: float = Field(default=0.0, ge=0, description="after which each call is answered, once it is done")
    echo: Literal["before", "after", "off"] = Field(
        default="after", description="whether the webhook on a write comes before the write's own answer"
    )

    def take(self, count: Literal["rate_limit_next", "fail_next", "lose_next"]) -> bool:
        """Whether the present call is among those counted; counts it."""
        left = getattr(self, count)
        if left:
            setattr(self, count, left - 1)
        return bool(left)


def plainly_failed(behaviour: Behaviour) -> Response:
    """The failure of a system that has no word for it."""
    return Response(status_code=behaviour.status)


def too_many_requests(seconds: int) -> Response:
    return Response(status_code=429, headers={"retry-after": str(seconds)})


class Stage:
    """Where a double plays its part. Its application has the system's own paths added as `router`'s."""

    def __init__(
        self,
        title: str,
        webhooks: Webhooks | None = None,
        guard: Callable[[Request], Response | None] = lambda request: None,
        failed: Callable[[Behaviour], Response] = plainly_failed,
    ) -> None:
        self.behaviour = Behaviour()
        self.arrived: list[dict[str, Any]] = []
        self.router = APIRouter(route_class=_route_class(self._play))
        self._title = title
        self._webhooks = webhooks
        self._guard = guard
        self._failed = failed

    def app(self) -> FastAPI:
        """The application, once the router has all its routes."""

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            yield
            if self._webhooks is not None:
                await self._webhooks.close()

        app = FastAPI(title=self._title, lifespan=lifespan, docs_url=None, redoc_url=None)

        @app.get("/__arrived")
        async def arrived() -> list[dict[str, Any]]:
            """Every call to the system's own paths, with its body and how it was answered."""
            return self.arrived

        @app.get("/__sent")
        async def sent() -> list[dict[str, Any]]:
            """Every webhook to the hub, with how the hub answered."""
            return self._webhooks.sent if self._webhooks is not None else []

        @app.post("/__behave")
        async def behave(changes: Behaviour) -> Behaviour:
            """Changes what is given, leaves the rest, answers with the whole."""
            self.behaviour = self.behaviour.model_copy(update=changes.model_dump(exclude_unset=True))
            return self.behaviour

        app.include_router(self.router)
        return app

    async def _play(self, request: Request, handle: Callable[[Request], Awaitable[Response]]) -> Response:
        arrival = await _arrival(request)
        self.arrived.append(arrival)
        behaviour, response = self.behaviour, self._guard(request)
        if response is not None:
            pass
        elif behaviour.take("rate_limit_next"):
            response = too_many_requests(behaviour.retry_after_seconds)
        elif behaviour.take("fail_next"):
            response = self._failed(behaviour)
        else:
            response = await self._done(request, handle, behaviour)
        await asyncio.sleep(behaviour.delay_seconds)
        arrival["status"] = response.status_code
        return response

    async def _done(
        self, request: Request, handle: Callable[[Request], Awaitable[Response]], behaviour: Behaviour
    ) -> Response:
        request.state.echoes = []
        response = await handle(request)
        if behaviour.take("lose_next"):
            response = plainly_failed(behaviour)
        if behaviour.echo == "before":
            await self._echo(request.state.echoes)
        elif behaviour.echo == "after":
            response.background = BackgroundTask(self._echo, request.state.echoes)
        return response

    async def _echo(self, bodies: list[dict[str, Any]]) -> None:
        for body in bodies:
            if self._webhooks is not None:
                await self._webhooks.deliver(body)


Play = Callable[[Request, Callable[[Request], Awaitable[Response]]], Coroutine[Any, Any, Response]]


def _route_class(play: Play) -> type[APIRoute]:
    """Routes whose every request goes through the stage's hands."""

    class Played(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def played(request: Request) -> Response:
                return await play(request, handle)

            return played

    return Played


async def _arrival(request: Request) -> dict[str, Any]:
    body = await request.body()
    try:
        shown = json.loads(body) if body else None
    except ValueError:
        shown = body.decode(errors="replace")
    return {
        "method": request.method,
        "path": request.url.path,
        "query": dict(request.query_params),
        "headers": {name: request.headers[name] for name in _SHOWN if name in request.headers},
        "body": shown,
    }
