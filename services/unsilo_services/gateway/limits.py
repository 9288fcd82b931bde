"""How fast a connection may be delivered to, and how often an address may fail to prove itself."""

from ipaddress import IPv6Address

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

UNVERIFIED_PER_MINUTE = 60


class Limits:
    """Counts in memory, per gateway process. Only verified deliveries use up a connection's rate."""

    def __init__(self) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._unverified = RateLimitItemPerMinute(UNVERIFIED_PER_MINUTE)

    def take(self, connection: str, per_minute: int) -> bool:
        """Uses up one verified delivery; False where there is none left."""
        return self._limiter.hit(RateLimitItemPerMinute(per_minute), "connection", connection)

    def take_unverified(self, address: str) -> bool:
        """Uses up one failure of an address; False where there is none left."""
        return self._limiter.hit(self._unverified, "address", network(address))


def network(address: str) -> str:
    """The /64 of an IPv6 address: whoever has one has all of them (RFC 4291 section 2.5.4)."""
    if ":" not in address:
        return address
    try:
        found = IPv6Address(address)
    except ValueError:
        return address
    return str(found.ipv4_mapped or int(found) >> 64)
