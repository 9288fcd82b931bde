"""BambooHR proves itself by an HMAC over the body and then the time, keyed with the webhook's private key."""

from .webhook import connector

__all__ = ["connector"]
