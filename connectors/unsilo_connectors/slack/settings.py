"""What a connection to Slack is told in unsilo.yaml."""

from ..contract import Settings
from ..secrets import RotatingSecret


class SlackSettings(Settings):
    """`direct_messages` opens what people write to each other, or to the app, outside channels: closed by default."""

    signing_secret: RotatingSecret
    direct_messages: bool = False
