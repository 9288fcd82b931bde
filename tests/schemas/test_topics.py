"""Topics: names that Kafka and its metrics take, and what the broker is told about each."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unsilo_schemas.catalogue import ENTITY_TYPES
from unsilo_schemas.entity import EntityType
from unsilo_schemas.post import POST, REACTION, REPLY
from unsilo_schemas.space import MEMBERSHIP, SPACE
from unsilo_schemas.ticket import COMMENT, TICKET
from unsilo_schemas.topics import Topic, Topics, owner_of

TOPICS = Topics()
BY_LAYER = {
    "raw": TOPICS.raw("helpdesk"),
    "event": TOPICS.event(TICKET),
    "command": TOPICS.command("helpdesk"),
    "ledger": TOPICS.ledger(),
    "retry": TOPICS.retry("flows"),
    "dead": TOPICS.dead("normalizer"),
    "audit": TOPICS.audit(),
    "config": TOPICS.config(),
}
LONGEST = 249


def named(name: str) -> Topic:
    return Topic(name, "key", 1, "delete", timedelta(days=1))


@given(st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,247}[a-z0-9])?", fullmatch=True))
def test_allows_lower_case_letters_digits_dots_and_hyphens(name: str) -> None:
    assert named(name).name == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "-", "a.", ".a", "a-", "-a", "a_b", "A", "unsilo.Raw", "a b", "a/b", "a\nb", "zoë", "a٣"),
        "a" * (LONGEST + 1),
    ],
)
def test_refuses_every_other_name(name: str) -> None:
    with pytest.raises(ValueError, match="no topic name"):
        named(name)


def test_refuses_a_name_that_ends_in_a_line_break() -> None:
    with pytest.raises(ValueError, match="no topic name"):
        named("unsilo.raw.helpdesk\n")


def test_allows_the_longest_name_that_kafka_does() -> None:
    assert named("a" * LONGEST)


@pytest.mark.parametrize("prefix", ["with_underscore", "Upper", ""])
def test_refuses_a_prefix_that_makes_no_topic_name(prefix: str) -> None:
    with pytest.raises(ValueError, match="no topic name"):
        Topics(prefix).audit()


@pytest.mark.parametrize("connection", ["help_desk", "HelpDesk", ""])
def test_refuses_a_connection_that_makes_no_topic_name(connection: str) -> None:
    with pytest.raises(ValueError, match="no topic name"):
        TOPICS.raw(connection)


def test_every_topic_of_a_hub_begins_with_its_prefix_and_has_a_name_of_its_own() -> None:
    topics = [*Topics("blue").fixed(), Topics("blue").raw("helpdesk")]
    assert all(topic.name.startswith("blue.") for topic in topics)
    assert all("_" not in topic.name for topic in topics)
    assert len({topic.name for topic in topics}) == len(topics)


def test_a_topic_says_whose_it_is_whatever_the_prefix() -> None:
    topics = Topics("acme.raw.command.eu")
    assert owner_of(topics.raw("desk-1").name) == owner_of(topics.command("desk-1").name) == "desk-1"
    assert owner_of(topics.dead("flows").name) == "flows"


def test_names_the_topics_as_they_are_documented() -> None:
    """A topic may be added. One that is renamed leaves its readers behind."""
    names = {topic.name for topic in TOPICS.fixed()}
    assert names >= {
        "unsilo.audit",
        "unsilo.config",
        "unsilo.dead.delivery",
        "unsilo.dead.flows",
        "unsilo.dead.normalizer",
        "unsilo.event.crm.account.v1",
        "unsilo.event.crm.contact.v1",
        "unsilo.event.crm.engagement.v1",
        "unsilo.event.crm.opportunity.v1",
        "unsilo.event.directory.user.v1",
        "unsilo.event.hr.employee.v1",
        "unsilo.event.link.link.v1",
        "unsilo.event.social.space.v1",
        "unsilo.event.ticket.ticket.v1",
        "unsilo.ledger.normalizer",
        "unsilo.retry.flows",
    }
    assert TOPICS.raw("mattermost-eu").name == "unsilo.raw.mattermost-eu"
    assert TOPICS.command("mattermost-eu").name == "unsilo.command.mattermost-eu"


def test_a_comment_stands_on_its_tickets_topic_behind_it() -> None:
    assert TOPICS.event(COMMENT) == TOPICS.event(TICKET)
    assert (TICKET.key, COMMENT.key) == ("id", "ticket")


@pytest.mark.parametrize("kind", [MEMBERSHIP, POST, REPLY, REACTION], ids=lambda kind: kind.name)
def test_what_happens_in_a_space_stands_on_its_topic(kind: EntityType) -> None:
    assert TOPICS.event(kind) == TOPICS.event(SPACE)
    assert (SPACE.key, kind.key) == ("id", "space")


@pytest.mark.parametrize("kind", ENTITY_TYPES, ids=lambda kind: f"{kind.domain}.{kind.name}")
def test_entities_that_share_a_topic_share_its_key(kind: EntityType) -> None:
    sharing = [one for one in ENTITY_TYPES if TOPICS.event(one) == TOPICS.event(kind)]
    (aggregate,) = [one for one in sharing if one.name == kind.aggregate]
    if len(sharing) > 1:
        assert kind.key == ("id" if kind is aggregate else aggregate.name)


@pytest.mark.parametrize(
    ("layer", "cleanup", "days", "mebibytes"),
    [
        ("raw", "delete", 14, 4),
        ("event", "delete", 90, 4),
        ("command", "delete", 14, 4),
        ("ledger", "delete", 14, 4),
        ("retry", "delete", 14, 6),
        ("dead", "delete", 90, 6),
        ("audit", "delete", 365, 4),
    ],
)
def test_a_topic_that_forgets_does_so_by_time(layer: str, cleanup: str, days: int, mebibytes: int) -> None:
    assert BY_LAYER[layer].config == {
        "cleanup.policy": cleanup,
        "retention.ms": str(days * 24 * 60 * 60 * 1000),
        "max.message.bytes": str(mebibytes * 1024 * 1024),
        "message.timestamp.after.max.ms": "9223372036854775807",
    }


def test_the_configuration_is_compacted_and_never_forgotten() -> None:
    assert BY_LAYER["config"].config == {
        "cleanup.policy": "compact",
        "retention.ms": "-1",
        "max.message.bytes": "1048576",
        "message.timestamp.after.max.ms": "9223372036854775807",
    }


def test_no_record_is_too_large_for_a_dead_letter() -> None:
    room_for_facts = 1024 * 1024
    for layer in ("raw", "event", "command"):
        assert BY_LAYER["dead"].max_bytes >= BY_LAYER[layer].max_bytes + room_for_facts


def test_a_letter_can_be_sent_again_whatever_its_size() -> None:
    assert BY_LAYER["retry"].max_bytes >= BY_LAYER["dead"].max_bytes


def test_what_is_kept_longer_outlives_what_it_tells_of() -> None:
    kept = {layer: topic.retention for layer, topic in BY_LAYER.items() if topic.retention is not None}
    assert kept["ledger"] >= kept["raw"], "a record read again would be published again"
    assert kept["dead"] >= max(kept["raw"], kept["event"], kept["command"])
    assert kept["audit"] == max(kept.values())


def test_the_number_of_partitions_does_not_change() -> None:
    """Keys would move to other partitions, and order be lost: a topic with another name takes its place."""
    assert {layer: topic.partitions for layer, topic in BY_LAYER.items()} == {
        "raw": 3,
        "event": 6,
        "command": 3,
        "ledger": 6,
        "retry": 3,
        "dead": 1,
        "audit": 1,
        "config": 1,
    }


def test_a_connection_may_have_more_partitions_from_the_start() -> None:
    assert TOPICS.raw("busy", partitions=12).partitions == 12
    assert TOPICS.command("busy", partitions=12).partitions == 12
