"""Zendesk Support: signs timestamp and body with a secret that Zendesk makes for each webhook."""

from .webhook import connector

__all__ = ["connector"]
