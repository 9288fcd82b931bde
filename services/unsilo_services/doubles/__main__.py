"""`python -m unsilo_services.doubles slack|zendesk|receiver`. Secrets come from the environment, by name."""

import logging
import os
from typing import Annotated

import typer
import uvicorn
from fastapi import FastAPI
from unsilo_connectors.secrets import Resolved
from unsilo_connectors.slack.settings import SlackSettings
from unsilo_connectors.standardwebhooks.settings import StandardWebhooksSettings
from unsilo_connectors.zendesk.settings import ZendeskSettings

from ..logs import configure_logs
from ..settings import LOCAL, HubSettings
from . import receiver, slack, zendesk

log = logging.getLogger(__name__)

Port = Annotated[int, typer.Option(help="Port to listen on.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Hub = Annotated[str | None, typer.Option(help="The connection's address at the hub, to which webhooks are sent.")]
SecretEnv = Annotated[str, typer.Option(help="Environment variable with the secret that signs webhooks.")]
TokenEnv = Annotated[str, typer.Option(help="Environment variable with the token that the API asks for.")]

commands = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Stand-ins for other systems' APIs.")


@commands.command("slack")
def run_slack(
    port: Port,
    secret_env: SecretEnv,
    token_env: TokenEnv,
    hub: Hub = None,
    channel: Annotated[list[str] | None, typer.Option(help="A channel's name; may be given several times.")] = None,
    host: Host = LOCAL,
) -> None:
    """A Slack workspace. The connection's `api_url` is http://HOST:PORT/api."""
    settings = SlackSettings.model_validate({"signing_secret": _secret(secret_env), "token": _secret(token_env)})
    serve(slack.create_app(settings, hub, channel or slack.CHANNELS), "slack", host, port)


@commands.command("zendesk")
def run_zendesk(
    port: Port,
    secret_env: SecretEnv,
    token_env: TokenEnv,
    hub: Hub = None,
    email: Annotated[str, typer.Option(help="The agent in whose name the hub writes.")] = "hub@acme.example",
    host: Host = LOCAL,
) -> None:
    """A Zendesk account. The connection's `url` is http://HOST:PORT."""
    url = f"http://{host}:{port}"
    secrets = {"signing_secret": _secret(secret_env), "token": _secret(token_env)}
    settings = ZendeskSettings.model_validate({**secrets, "url": url, "email": email})
    serve(zendesk.create_app(settings, hub), "zendesk", host, port)


@commands.command("receiver")
def run_receiver(port: Port, secret_env: SecretEnv, host: Host = LOCAL) -> None:
    """A receiver of Standard Webhooks. The connection's `url` is http://HOST:PORT/ with any path."""
    settings = StandardWebhooksSettings.model_validate({"secret": _secret(secret_env)})
    serve(receiver.create_app(settings), "receiver", host, port)


def serve(app: FastAPI, name: str, host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    configure_logs(HubSettings(), f"double-{name}")
    log.info("the double of %s is at http://%s:%d", name, host, port)
    uvicorn.run(app, host=host, port=port, access_log=False, server_header=False, log_config=None)


def _secret(variable: str) -> Resolved:
    value = os.environ.get(variable)
    if not value:
        raise typer.BadParameter(f"the environment variable {variable} is not set")
    return Resolved(value)


if __name__ == "__main__":
    commands()
