"""Slack's Events API. The sender proves itself by an HMAC with the app's signing secret over time and body."""

from .webhook import connector

__all__ = ["connector"]
