"""Where a record's key puts it: there where Java's clients and faust look for it."""

from datetime import timedelta

import pytest
from unsilo_schemas.topics import Topic

from tests.services.running import Hub

# Keys and their murmur2 as Kafka's own UtilsTest.testMurmur2 has them.
MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
PARTITIONS = 12


@pytest.mark.kafka
def test_a_key_lands_on_the_partition_that_java_gives_it(hub: Hub) -> None:
    name = f"{hub.prefix}.partitioned"
    hub.kafka.create([Topic(name, "any", PARTITIONS, "delete", timedelta(days=1))])
    producer = hub.kafka.producer()
    for key in MURMUR2:
        producer.produce(name, b"", key)
    assert producer.flush(60) == 0
    landed = {record.key(): record.partition() for record in hub.read(name)}
    assert landed == {key: (murmur2 & 0x7FFFFFFF) % PARTITIONS for key, murmur2 in MURMUR2.items()}
