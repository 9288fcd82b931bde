"""Receives webhooks: verifies, stores, and only then answers. Nothing unsigned gets past it."""
