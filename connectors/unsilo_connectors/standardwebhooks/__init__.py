"""Any sender of Standard Webhooks proves itself by an HMAC over id, time and body, keyed with a `whsec_` secret."""

from .webhook import connector

__all__ = ["connector"]
