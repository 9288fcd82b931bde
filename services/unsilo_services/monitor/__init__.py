"""Watches the queues from outside, so that a service that is down is seen too. Reads the broker, consumes nothing."""
