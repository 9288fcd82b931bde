"""Commands in, calls to the vendors out: at least once, always under the same idempotency key, in order per object."""
