"""A receiver of Standard Webhooks: checks every message that the hub sends, shows and remembers the genuine ones."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import typer
from fastapi import FastAPI, Request, Response
from unsilo_connectors.contract import Connection, UntrustedWebhook, WebhookRequest
from unsilo_connectors.standardwebhooks import connector
from unsilo_connectors.standardwebhooks.settings import StandardWebhooksSettings

from .behaviour import Stage
from .webhooks import now

_COLUMNS = 80


def create_app(settings: StandardWebhooksSettings, clock: Callable[[], datetime] = now) -> FastAPI:
    """The double, which takes messages at any path. `settings.secret` is the hub's `sending_secret`."""
    connection = Connection("receiver", connector.name, settings)
    stage = Stage("A receiver's double")
    messages: dict[str, dict[str, Any]] = {}

    @stage.router.post("/{path:path}")
    async def receive(request: Request) -> Response:
        body = await request.body()
        try:
            connector.verify(WebhookRequest(connection, dict(request.headers), body, clock()))
        except UntrustedWebhook:
            return Response(status_code=401)
        message_id, message = request.headers["webhook-id"], json.loads(body)
        data = json.dumps(message.get("data"), ensure_ascii=False)[:_COLUMNS]
        typer.echo(_plain(f"{message.get('type')}  {message_id}  {data}"))
        if message_id in messages:
            messages[message_id]["times"] += 1
        else:
            messages[message_id] = {"id": message_id, "times": 1, **message}
        return Response(status_code=204)

    app = stage.app()

    @app.get("/__messages")
    async def genuine() -> list[dict[str, Any]]:
        """The messages that were signed well, each once, with the number of times that it came."""
        return list(messages.values())

    return app


def _plain(text: str) -> str:
    """A text on one line, with nothing in it that a terminal obeys."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
