"""Zendesk's double: the part of the Support API that the connector calls, and webhooks on what is done."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import httpx
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from unsilo_connectors.zendesk import connector
from unsilo_connectors.zendesk.settings import ZendeskSettings

from .account import ACCOUNT_ID, AGENT_ID, Account, Invalid, Object, Ticket
from .behaviour import Behaviour, Stage
from .webhooks import Webhooks, now

_KEY_IS_KNOWN_FOR = timedelta(hours=2)
_CALLS_A_MINUTE = 700


class NewTicket(BaseModel):
    """A customer writes in."""

    subject: str
    body: str
    priority: Literal["urgent", "high", "normal", "low"] | None = "urgent"
    user: str = "Maren Solheim"


class NewComment(BaseModel):
    """An agent comments on a ticket; on the last one made, unless `ticket` says on which."""

    body: str
    ticket: int | None = None
    public: bool = False
    user: str = "Jonas Brekke"


class NewStatus(BaseModel):
    """An agent changes a ticket's status; the last one's, unless `ticket` says whose."""

    status: Literal["new", "open", "pending", "hold", "solved", "closed"]
    ticket: int | None = None
    user: str = "Jonas Brekke"


class Minute:
    """How many calls are left of those that the plan allows in each minute."""

    def __init__(self, calls: int, clock: Callable[[], datetime]) -> None:
        self.calls = calls
        self._clock = clock
        self._minute: datetime | None = None
        self._used = 0

    def take(self) -> Mapping[str, str]:
        """Counts a call, and returns the headers that tell."""
        at = self._clock()
        minute = at.replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += 1
        left, reset = max(self.calls - self._used, 0), 60 - at.second
        names = {"x-rate-limit": self.calls, "ratelimit-limit": self.calls, "x-rate-limit-remaining": left}
        over = {"retry-after": str(reset)} if self._used > self.calls else {}
        return {
            **{name: str(number) for name, number in names.items()},
            "ratelimit-remaining": str(left),
            "ratelimit-reset": str(reset),
            **over,
        }


def create_app(
    settings: ZendeskSettings,
    hub: str | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Callable[[], datetime] = now,
    calls_a_minute: int = _CALLS_A_MINUTE,
) -> FastAPI:
    """The double. `settings` are those of the hub's connection; `hub` is the connection's address at the gateway."""
    account, minute = Account(settings.api or "http://double", clock), Minute(calls_a_minute, clock)
    webhooks = Webhooks(hub, written, _signer(settings), transport=transport, clock=clock)
    stage = Stage("Zendesk's double", webhooks, guard(settings), failed)

    def route(method: str, path: str, answer: Callable[[Request], Any]) -> None:
        """Zendesk answers with and without `.json` at the end of a path."""

        async def answered(request: Request) -> Response:
            headers = minute.take()
            if "retry-after" in headers:
                return Response("Number of allowed API requests per minute exceeded", 429, dict(headers))
            try:
                response: Response = await answer(request)
            except Invalid as error:
                response = _invalid(str(error))
            response.headers.update(headers)
            return response

        for ending in ("", ".json"):
            stage.router.add_api_route(f"/api/v2/{path}{ending}", answered, methods=[method], response_model=None)

    async def create(request: Request) -> Response:
        key, body = request.headers.get("idempotency-key"), await request.body()
        known = account.keys.get(key) if key else None
        if known is not None and clock() - known[0] < _KEY_IS_KNOWN_FOR:
            if known[1] != body:
                why = "Request parameters don't match the given idempotency key"
                return JSONResponse({"error": "IdempotentRequestError", "description": why}, 400)
            return JSONResponse(known[2], 201, {"x-idempotency-lookup": "hit"})
        ticket, events = account.create(await _asked(request), AGENT_ID)
        request.state.echoes.extend(events)
        answer = {"ticket": dict(ticket.shown), "audit": ticket.audits[-1]}
        if key:
            account.keys[key] = (clock(), body, answer)
        return JSONResponse(answer, 201, {"x-idempotency-lookup": "miss"} if key else None)

    async def update(request: Request) -> Response:
        if (ticket := _ticket(account, request)) is None:
            return _unknown()
        events = account.update(ticket, await _asked(request), AGENT_ID)
        request.state.echoes.extend(events)
        return JSONResponse({"ticket": ticket.shown, "audit": ticket.audits[-1] if events else None})

    async def show(request: Request) -> Response:
        ticket = _ticket(account, request)
        return _unknown() if ticket is None else JSONResponse({"ticket": ticket.shown})

    async def show_all(request: Request) -> Response:
        wanted = request.query_params.get("external_id")
        found = [one.shown for one in account.tickets.values() if wanted in (None, one.shown["external_id"])]
        return JSONResponse(_page(found, "tickets", request))

    async def audits(request: Request) -> Response:
        ticket = _ticket(account, request)
        return _unknown() if ticket is None else JSONResponse(_page(ticket.audits, "audits", request))

    async def comments(request: Request) -> Response:
        ticket = _ticket(account, request)
        return _unknown() if ticket is None else JSONResponse(_page(list(_comments(ticket)), "comments", request))

    async def me(request: Request) -> Response:
        known = "authorization" in request.headers
        user = {"id": AGENT_ID, "name": "Unsilo", "email": settings.email, "role": "agent", "active": True}
        return JSONResponse({"user": user if known else {**user, "id": None, "name": "Anonymous user", "email": None}})

    route("POST", "tickets", create)
    route("GET", "tickets", show_all)
    route("GET", "tickets/{number:int}", show)
    route("PUT", "tickets/{number:int}", update)
    route("GET", "tickets/{number:int}/audits", audits)
    route("GET", "tickets/{number:int}/comments", comments)
    route("GET", "users/me", me)
    app = stage.app()
    _let_people_act(app, account, webhooks)
    return app


def guard(settings: ZendeskSettings) -> Callable[[Request], Response | None]:
    """Answers a call with wrong credentials; one without any is let in where Zendesk shows an anonymous user."""
    token = settings.token.get_secret_value() if settings.token else ""
    right = "Basic " + base64.b64encode(f"{settings.email}/token:{token}".encode()).decode()

    def check(request: Request) -> Response | None:
        given = request.headers.get("authorization")
        if given == right or (given is None and "/users/me" in request.url.path):
            return None
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)

    return check


def failed(behaviour: Behaviour) -> Response:
    return JSONResponse({"error": behaviour.error or "InternalError"}, behaviour.status)


def written(body: Mapping[str, Any]) -> bytes:
    """JSON as Zendesk writes it: names in order, no blanks."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()


def _signer(settings: ZendeskSettings) -> Callable[[bytes, datetime], Mapping[str, str]]:
    def headers(body: bytes, at: datetime) -> Mapping[str, str]:
        return {
            "user-agent": "Zendesk Webhook",
            "content-type": "application/json; charset=utf-8",
            "x-zendesk-account-id": str(ACCOUNT_ID),
            "x-zendesk-webhook-id": "01K2PZ8VX3M5T9QH6R4D7C1B0N",
            "x-zendesk-webhook-invocation-id": hashlib.sha256(body).hexdigest()[:26].upper(),  # its retries share it
            **connector.sign(body, settings, at),
        }

    return headers


async def _asked(request: Request) -> Mapping[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    asked = body.get("ticket") if isinstance(body, dict) else None
    if not isinstance(asked, dict):
        raise Invalid("ticket: is missing")
    return asked


def _ticket(account: Account, request: Request) -> Ticket | None:
    return account.tickets.get(request.path_params["number"])


def _comments(ticket: Ticket) -> Iterator[Object]:
    for audit in ticket.audits:
        for event in audit["events"]:
            if event["type"] == "Comment":
                known = {name: audit[name] for name in ("created_at", "metadata", "via")}
                yield {**event, **known, "audit_id": audit["id"]}


def _page(found: Sequence[Object], listed: str, request: Request) -> Object:
    """A page after a cursor, which is the number of what came before."""
    size = min(_whole(request.query_params.get("page[size]", "100")), 100)
    start = _whole(request.query_params.get("page[after]", "0"))
    more = start + size < len(found)
    meta = {"has_more": more, "after_cursor": str(start + size) if more else None, "before_cursor": None}
    return {listed: found[start : start + size], "meta": meta}


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid("page: is not valid")
    return int(text)


def _unknown() -> Response:
    return JSONResponse({"error": "RecordNotFound", "description": "Not found"}, 404)


def _invalid(why: str) -> Response:
    details = {"base": [{"description": why}]}
    return JSONResponse({"error": "RecordInvalid", "description": "Record validation errors", "details": details}, 422)


def _let_people_act(app: FastAPI, account: Account, webhooks: Webhooks) -> None:
    @app.exception_handler(Invalid)
    async def refuse(request: Request, error: Invalid) -> Response:
        return _invalid(str(error))

    def meant(number: int | None) -> Ticket:
        ticket = account.tickets.get(number if number is not None else max(account.tickets, default=0))
        if ticket is None:
            raise HTTPException(404, "there is no such ticket")
        return ticket

    async def told(ticket: Ticket, events: Sequence[Object], user: int) -> Object:
        comments = [event["id"] for event in ticket.audits[-1]["events"] if event["type"] == "Comment"]
        statuses = [await webhooks.deliver(event) for event in events]
        return {
            "ticket": ticket.shown["id"],
            "comment": next(iter(comments), None),
            "user": user,
            "delivered": statuses,
        }

    @app.get("/__tickets")
    async def tickets() -> list[Object]:
        """All tickets with their audits."""
        return [{**ticket.shown, "audits": ticket.audits} for ticket in account.tickets.values()]

    @app.post("/__act/ticket")
    async def ticket(act: NewTicket) -> Object:
        user = account.user(act.user)
        asked = {"subject": act.subject, "comment": {"body": act.body}, "priority": act.priority}
        made, events = account.create(asked, user)
        return await told(made, events, user)

    @app.post("/__act/comment")
    async def comment(act: NewComment) -> Object:
        found, user = meant(act.ticket), account.user(act.user)
        events = account.update(found, {"comment": {"body": act.body, "public": act.public}}, user)
        return await told(found, events, user)

    @app.post("/__act/status")
    async def status(act: NewStatus) -> Object:
        found, user = meant(act.ticket), account.user(act.user)
        return await told(found, account.update(found, {"status": act.status}, user), user)
