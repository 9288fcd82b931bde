"""Pipedrive proves itself by HTTP basic authentication with the pair given to the webhook; it signs nothing."""

from .webhook import connector

__all__ = ["connector"]
