"""Slack's double: the part of the Web API that the connector calls, and the Events API on what is said."""

import base64
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from unsilo_connectors.slack import connector
from unsilo_connectors.slack.settings import SlackSettings

from .behaviour import Behaviour, Stage, plainly_failed
from .webhooks import Webhooks, now
from .workspace import (
    APP_ID,
    BOT_ID,
    BOT_USER_ID,
    TEAM_ID,
    Failed,
    Message,
    Workspace,
    blocks,
    callback,
    made_up_id,
    message_event,
)

CHANNELS = ("general", "support", "wins")

_LONGEST_TEXT = 40_000


class Post(BaseModel):
    """A person says something, in mrkdwn, in a channel given by name or id."""

    channel: str
    text: str
    user: str = "Ilse Brandt"


class Reply(Post):
    """A person replies to a message; to the last one that has come, unless `ts` says to which."""

    ts: str | None = None


class Reaction(BaseModel):
    """A person puts an emoji to a message; to the last one that has come, unless `ts` says to which."""

    channel: str
    emoji: str
    ts: str | None = None
    user: str = "Ilse Brandt"


def create_app(
    settings: SlackSettings,
    hub: str | None = None,
    channels: Sequence[str] = CHANNELS,
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Callable[[], datetime] = now,
) -> FastAPI:
    """The double. `settings` are those of the hub's connection; `hub` is the connection's address at the gateway."""
    workspace = Workspace(channels, clock)
    webhooks = Webhooks(hub, written, _signer(settings), _retried, transport, clock)
    stage = Stage("Slack's double", webhooks, guard(settings), failed)
    methods: Mapping[str, Callable[[Workspace, Request, Mapping[str, Any]], dict[str, Any]]] = {
        "auth.test": _who,
        "chat.postMessage": _posted,
        "conversations.history": _history,
        "conversations.replies": _replies,
        "conversations.list": _channels,
    }

    @stage.router.api_route("/api/{method}", methods=["GET", "POST"])
    async def call(method: str, request: Request) -> Response:
        try:
            if method not in methods:
                raise Failed("unknown_method")
            answer = methods[method](workspace, request, await _arguments(request))
        except Failed as error:
            return JSONResponse({"ok": False, "error": str(error)})
        return JSONResponse({"ok": True, **answer})

    app = stage.app()
    _let_people_act(app, workspace, webhooks)
    return app


def guard(settings: SlackSettings) -> Callable[[Request], Response | None]:
    """Answers a call without the app's token."""
    token = settings.token.get_secret_value() if settings.token else None

    def check(request: Request) -> Response | None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and given == token:
            return None
        return JSONResponse({"ok": False, "error": "invalid_auth" if given else "not_authed"})

    return check


def failed(behaviour: Behaviour) -> Response:
    """Slack says `ok: false` in an answer 200 where it has a word for it."""
    return JSONResponse({"ok": False, "error": behaviour.error}) if behaviour.error else plainly_failed(behaviour)


def written(body: Mapping[str, Any]) -> bytes:
    """JSON as Slack writes it: no blanks, and with an escape before every slash."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).replace("/", "\\/").encode()


def _signer(settings: SlackSettings) -> Callable[[bytes, datetime], Mapping[str, str]]:
    def headers(body: bytes, at: datetime) -> Mapping[str, str]:
        return {
            "user-agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "content-type": "application/json",
            **connector.sign(body, settings, at),
        }

    return headers


def _retried(number: int, status: int | None) -> Mapping[str, str]:
    reason = "connection_failed" if status is None else "http_error"
    return {"x-slack-retry-num": str(number), "x-slack-retry-reason": reason}


def _who(workspace: Workspace, request: Request, given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": "https://double.slack.com/",
        "team": "Double",
        "user": "unsilo",
        "team_id": TEAM_ID,
        "user_id": BOT_USER_ID,
        "bot_id": BOT_ID,
        "is_enterprise_install": False,
    }


def _posted(workspace: Workspace, request: Request, given: Mapping[str, Any]) -> dict[str, Any]:
    channel, text = workspace.channel(given.get("channel")), given.get("text")
    if not isinstance(text, str) or not text:
        raise Failed("no_text")
    if len(text) > _LONGEST_TEXT:
        raise Failed("msg_too_long")
    profile = {"id": BOT_ID, "deleted": False, "name": "Unsilo", "app_id": APP_ID, "user_id": BOT_USER_ID}
    said = {
        "user": BOT_USER_ID,
        "bot_id": BOT_ID,
        "app_id": APP_ID,
        "text": text,
        "bot_profile": {**profile, "updated": 1739000000, "team_id": TEAM_ID},
        "blocks": blocks(text),
    }
    if isinstance(metadata := given.get("metadata"), dict):
        said["metadata"] = metadata
    message = workspace.say(channel, given.get("thread_ts"), **said)
    request.state.echoes.append(callback(message_event(channel, message)))
    return {"channel": channel, "ts": message["ts"], "message": message}


def _history(workspace: Workspace, request: Request, given: Mapping[str, Any]) -> dict[str, Any]:
    """Newest first, and without what was said in threads."""
    channel = workspace.channel(given.get("channel"))
    if channel != given.get("channel"):
        raise Failed("channel_not_found")  # by its id only
    said = [one for one in workspace.messages[channel] if one.get("thread_ts", one["ts"]) == one["ts"]]
    oldest = _moment(given.get("oldest", "0"))
    return _page([one for one in reversed(said) if Decimal(one["ts"]) > oldest], "messages", given, 100)


def _replies(workspace: Workspace, request: Request, given: Mapping[str, Any]) -> dict[str, Any]:
    """Oldest first, and the thread's first message before all, however old."""
    channel, oldest = workspace.channel(given.get("channel")), _moment(given.get("oldest", "0"))
    root, *replies = workspace.thread(channel, given.get("ts"))
    return _page([root, *(one for one in replies if Decimal(one["ts"]) > oldest)], "messages", given, 1000)


def _channels(workspace: Workspace, request: Request, given: Mapping[str, Any]) -> dict[str, Any]:
    known = [
        {"id": channel, "name": name, "is_channel": True, "is_private": False, "is_archived": False, "is_member": True}
        for channel, name in workspace.channels.items()
    ]
    return _page(known, "channels", given, 100)


def _page(found: Sequence[Message], listed: str, given: Mapping[str, Any], usual: int) -> dict[str, Any]:
    """A page of what was found. Metadata is shown to those who ask for it."""
    limit, start = _number(given.get("limit", usual)), _number(_opened(given.get("cursor")))
    page = [dict(one) for one in found[start : start + limit]]
    if str(given.get("include_all_metadata")).lower() not in ("true", "1"):
        for one in page:
            one.pop("metadata", None)
    more = start + limit < len(found)
    cursor = base64.b64encode(f"start:{start + limit}".encode()).decode() if more else ""
    return {listed: page, "has_more": more, "response_metadata": {"next_cursor": cursor}}


def _opened(cursor: Any) -> Any:
    if not cursor:
        return 0
    try:
        return base64.b64decode(str(cursor), validate=True).decode().removeprefix("start:")
    except ValueError:
        raise Failed("invalid_cursor") from None


def _number(given: Any) -> int:
    try:
        return int(given)
    except ValueError:
        raise Failed("invalid_arguments") from None


def _moment(given: Any) -> Decimal:
    try:
        return Decimal(str(given))
    except InvalidOperation:
        raise Failed("invalid_ts_oldest") from None


async def _arguments(request: Request) -> Mapping[str, Any]:
    """Of the query, of a form, or of JSON: Slack takes all of them."""
    given: dict[str, Any] = dict(request.query_params)
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            sent = await request.json()
        except ValueError:
            raise Failed("invalid_json") from None
        return {**given, **sent} if isinstance(sent, dict) else given
    form = httpx.QueryParams((await request.body()).decode(errors="replace"))
    return {**given, **dict(form)}


def _let_people_act(app: FastAPI, workspace: Workspace, webhooks: Webhooks) -> None:
    @app.exception_handler(Failed)
    async def refuse(request: Request, error: Failed) -> Response:
        return JSONResponse({"detail": str(error)}, 404)

    @app.get("/__workspace")
    async def show() -> dict[str, Any]:
        """Who is where."""
        return {"channels": workspace.channels, "bot_id": BOT_ID, "bot_user_id": BOT_USER_ID, "team_id": TEAM_ID}

    async def said(act: Post, ts: str | None) -> dict[str, Any]:
        channel = workspace.channel(act.channel)
        own = {"user": made_up_id("U", act.user), "client_msg_id": str(uuid.uuid4())}
        message = workspace.say(channel, ts, **own, text=act.text, blocks=blocks(act.text))
        status = await webhooks.deliver(callback(message_event(channel, message)))
        return {"channel": channel, "ts": message["ts"], "user": own["user"], "delivered": status}

    @app.post("/__act/post")
    async def post(act: Post) -> dict[str, Any]:
        return await said(act, None)

    @app.post("/__act/reply")
    async def reply(act: Reply) -> dict[str, Any]:
        return await said(act, _meant(workspace, act.channel, act.ts))

    @app.post("/__act/react")
    async def react(act: Reaction) -> dict[str, Any]:
        channel, user = workspace.channel(act.channel), made_up_id("U", act.user)
        ts = _meant(workspace, act.channel, act.ts)
        event = {
            "type": "reaction_added",
            "user": user,
            "reaction": act.emoji,
            "item": {"type": "message", "channel": channel, "ts": ts},
            "event_ts": workspace.ts(),
        }
        return {"channel": channel, "ts": ts, "user": user, "delivered": await webhooks.deliver(callback(event))}


def _meant(workspace: Workspace, channel: str, ts: str | None) -> str:
    said = workspace.messages[workspace.channel(channel)]
    if not said:
        raise HTTPException(404, "nothing was said in the channel yet")
    return ts or str(said[-1]["ts"])
