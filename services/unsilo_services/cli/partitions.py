"""Which partition a key belongs to: as every producer of the hub does it, and as Java does."""

_M = 0x5BD1E995
_SEED = 0x9747B28C
_BITS = 0xFFFFFFFF


def partition_of_key(key: bytes, partitions: int) -> int:
    """The partition of a topic with so many."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    """MurmurHash2 with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2)."""
    whole = len(data) & ~3
    digest = _SEED ^ len(data)
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _M & _BITS
        word = (word ^ word >> 24) * _M & _BITS
        digest = digest * _M & _BITS ^ word
    if len(data) > whole:
        digest = (digest ^ int.from_bytes(data[whole:], "little")) * _M & _BITS
    digest = (digest ^ digest >> 13) * _M & _BITS
    return digest ^ digest >> 15
