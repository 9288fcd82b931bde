"""What a connection to Slack is told in unsilo.yaml."""

from pydantic import Field

from ..contract import Settings
from ..secrets import RotatingSecret, Secret


class SlackSettings(Settings):
    """`direct_messages` opens what people write to each other, or to the app, outside channels: closed by default.

    `token` is the app's bot token; without it nothing is written. `api_url` is where a test has its own Slack.
    """

    signing_secret: RotatingSecret
    direct_messages: bool = False
    token: Secret | None = None
    api_url: str = Field(default="https://slack.com/api", pattern=r"^https?://\S*[^/\s]$")
