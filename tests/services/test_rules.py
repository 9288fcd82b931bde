"""Flows as operators write them: what is refused where it is written, and what events make of the rest."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unsilo_connectors.slack import connector as slack
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.example import example
from unsilo_services.configuration import Configuration, ConnectionSection, FlowSection, HubSection
from unsilo_services.rules import Flow, Intent, RuleBroken, RuleFailed, Seen, context_of
from unsilo_services.texts import MOST_TEXT, Environment, Text, TextBroken, TextFailed

SECRET = {"env": "SECRET"}
CONNECTIONS = {
    "chat": ConnectionSection(id="chat", connector="slack", audience="internal", settings={"signing_secret": SECRET}),
    "town": ConnectionSection(id="town", connector="slack", settings={"signing_secret": SECRET}),
    "desk": ConnectionSection(id="desk", connector="zendesk", settings={"signing_secret": SECRET}),
    "sink": ConnectionSection(
        id="sink", connector="standardwebhooks", audience="internal", settings={"secret": SECRET, "types": {}}
    ),
    "deals": ConnectionSection(id="deals", connector="pipedrive", settings={"username": "u", "password": SECRET}),
}
CONFIGURATION = Configuration(HubSection(), CONNECTIONS)
TICKET = "ticket.ticket.created"
COMMENT = "ticket.comment.added"
POST = {"deliver": "chat", "action": "post", "with": {"channel": "c", "text": "t"}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.dictionaries(
    st.sampled_from(["title", "priority", "status", "assignees", "custom", "tags", "account"]), JSON, max_size=5
)


def flow(*do: Mapping[str, Any], on: str = TICKET, when: str | None = None) -> Flow:
    section = FlowSection.model_validate({"id": "f", "on": on, "when": when, "do": list(do) or [POST]})
    return Flow(section, CONFIGURATION)


def broken(*do: Mapping[str, Any], on: str = TICKET, when: str | None = None) -> tuple[str, str]:
    """Where, and what would be right."""
    with pytest.raises(RuleBroken) as caught:
        flow(*do, on=on, when=when)
    return ".".join(map(str, caught.value.path)), caught.value.problem


def posting(text: str, **more: Any) -> dict[str, Any]:
    return {**POST, "with": {"channel": "c", "text": text, **more}}


def seen(entity: Mapping[str, Any], type: str = TICKET, **data: Any) -> Seen:
    return Seen(context_of(type, {"changed": [], "complete": True, **data, "entity": entity}), slack.plain)


def intents(flow: Flow, seen: Seen, twin: Mapping[str, Any] | None = None) -> list[Intent]:
    return [intent for _, intent in flow.intents(seen, lambda about, connection: twin)]


def said(text: str, **entity: Any) -> Any:
    """What a text for Slack becomes of an entity."""
    return Text(text, Environment(slack.escape)).of(seen(entity).context, slack.plain)


def failure(text: str, **entity: Any) -> str:
    with pytest.raises(TextFailed) as caught:
        said(text, **entity)
    return str(caught.value)


@pytest.mark.parametrize(
    ("when", "entity", "holds"),
    [
        ('entity.priority.category == "urgent"', {"priority": {"category": "urgent"}}, True),
        ('entity.priority.category == "urgent"', {"priority": {"category": "low"}}, False),
        ('entity.priority.category == "urgent"', {"priority": None}, False),
        ('entity.priority.category == "urgent"', {}, False),
        ('!has(entity.priority) || entity.priority.category == "urgent"', {}, True),
        ("entity.title == null", {"title": None}, True),
        ("entity.title != null && size(entity.title) > 3", {"title": "abcd"}, True),
        ('"/status" in changed', {}, False),
        ('type == "unsilo.ticket.ticket.created.v1" || complete', {}, True),
    ],
)
def test_a_condition_that_asks_for_what_an_event_lacks_is_not_true(
    when: str, entity: Mapping[str, Any], holds: bool
) -> None:
    assert flow(when=when).holds(seen(entity)) is holds


@pytest.mark.parametrize(
    "when",
    [
        "entity.title.contains('entity.titel') // entity.titel",
        "entity.priority.size() > 0 || entity . priority\n.category == 'low'",
        "false && entity.custom.anything.at == {'entity': 1}.entity",
        "entity.tags.all(tag, tag != entity.title)",
    ],
)
def test_a_condition_may_ask_for_whatever_an_event_may_have(when: str) -> None:
    flow(when=when)


def test_a_condition_that_is_neither_true_nor_false_of_an_event_does_not_hold() -> None:
    either = flow(when='has(entity.custom.odd) ? entity.custom.odd : entity.title != ""')
    assert either.holds(seen({"title": "x", "custom": {}}))
    for odd in ("true", 1, [True], {"true": True}, None):
        assert not either.holds(seen({"custom": {"odd": odd}}))


@pytest.mark.parametrize(
    "when",
    [
        "double(entity.title) > 1.0", "entity.title.matches(entity.title)", "1 / size(entity.tags) > 0",
        "entity.tags[5] == 'x'", "int(entity.title) + 9223372036854775807 > 0",
        "duration(entity.title) > duration('1s')", "timestamp(entity.title) < timestamp('2026-01-01T00:00:00Z')",
        "size(entity) > 9223372036854775800",
    ],
)  # fmt: skip
@given(fields=FIELDS)
def test_no_event_makes_a_condition_raise(when: str, fields: Mapping[str, Any]) -> None:
    found = flow(when=f'entity.id == "" && ({when})')  # so that it passes on the example
    assert found.holds(seen({**fields, "id": ""})) in (True, False)


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("entity.title ==", "is no CEL expression"),
        ("entity.title", "must be true or false"),
        ("1 + 1", "must be true or false"),
        ("null", "must be true or false"),
        ("entity.titel == ''", "there is no field 'titel': write has(…)"),
        ("has(entity.titel) && entity.titel == ''", "asks for entity.titel, which none of its events ever has"),
        (
            "entity.priority.category == 'urgent' && entity.titel.contains('x')",
            "asks for entity.titel, which none of its events ever has",
        ),
        ("entity.custom.tier == 'gold'", "write has(…) && …"),
        ("nobody == 1", "Undefined variable"),
        ("entity.title > 3", "No such overload"),
        ("1 / 0 == 1", "division by zero"),
        ("(" * 70_000 + "1" + ")" * 70_000, "has more than 4000 characters"),
        ("(" * 1900, "is no CEL expression"),
        ("", "is no CEL expression"),
    ],
)
def test_a_slip_in_a_condition_is_found_where_it_is_written(when: str, problem: str) -> None:
    place, found = broken(when=when)
    assert place == "when"
    assert problem in found


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("[1].all(a, [1].exists(b, [1].exists_one(c, true)))", "more than 2 lists inside each other"),
        ("[1].all(a, size([1].filter(b, [1].existsOne(c, true))) == 1)", "more than 2 lists inside each other"),
        ("[1] . all // (\n (a, [1].all(b, ([1]).all(c, true)))", "more than 2 lists inside each other"),
        ("'''[1]'.all(a''' == '' || [1].all(a, r'\\' == '' || [1].all(b, [1].all(c, true)))", "more than 2 lists"),
        ("[[1, 1]].map(a, a + a).size() == 1", "has map"),
        (f"[{'0,' * 600}].all(a, [{'0,' * 600}].all(b, {'true && ' * 150} true))".replace(",]", "]"), "too long"),
    ],
)
def test_a_condition_that_would_hold_up_the_process_is_refused_where_it_is_written(when: str, problem: str) -> None:
    place, found = broken(when=when)
    assert place == "when"
    assert problem in found


@pytest.mark.parametrize(
    "when",
    [
        "[1].all(a, [1].all(b, true)) && [1].all(a, [1].all(b, true)) && [[1].all(a, true)].all(b, b)",
        "'x.all(a, x.all(b, x.all(c, ' != '' && [1].all(a, [1].all(b, b'.all(\\'' != b''))",
        '[1].all(a, [1].all(b, r"\\.all(" != "")) // .all(',
        "[1].all(a, [1].all(b, r'\\' != '.all('))",
        '[1].all(a, [1].all(b, """ " .all( \\""" """ != ""))',
        "[1].all(a, [1].all(b, has(entity.title) && size([entity.title]) == 1))",
        "size([1].filter(a, a == 1).filter(a, a == 1).filter(a, a == 1)) == 1",
    ],
)
def test_what_only_looks_as_if_it_went_through_too_many_lists_is_taken(when: str) -> None:
    assert flow(when=when).holds(seen({"title": "x"}))


PAIRS = "entity.tags.all(a, entity.tags.exists(b, a == b))"


@pytest.mark.parametrize(
    ("when", "fits", "too_large"),
    [
        (PAIRS, {"tags": ["t"] * 1000}, {"tags": ["t"] * 5000}),
        (PAIRS, {"tags": [["t"] * 10] * 100}, {"tags": [["t"] * 1000] * 100}),
        ("size(entity.tags.filter(t, true)) > 0", {"tags": ["t"] * 2000}, {"tags": ["t"] * 8000}),
        (
            "(entity.tags + entity.tags + entity.tags).all(a, (entity.tags + entity.tags).all(b, a == b))",
            {"tags": ["t"] * 200},
            {"tags": ["t"] * 500},
        ),
        ("entity.tags.all(t, t == 't')", {"tags": ["t"] * 100_000}, {"tags": ["t"] * 2_000_000}),
        (
            "entity.tags.all(t, !entity.title.contains(t))",
            {"tags": ["t"] * 1000, "title": "x" * 100_000},
            {"tags": ["t"] * 1000, "title": "x" * 4_000_000},
        ),
        (
            "entity.custom.all(a, entity.custom.all(b, a != '' || b != ''))",
            {"custom": dict.fromkeys(map(str, range(300)))},
            {"custom": dict.fromkeys(map(str, range(5000)))},
        ),
    ],
)
def test_an_event_too_large_for_a_condition_is_said_to_be_and_not_passed_over(
    when: str, fits: Mapping[str, Any], too_large: Mapping[str, Any]
) -> None:
    found = flow(when=f"entity.id != '' || {when}")  # so that it passes on the example
    assert found.holds(seen({**fits, "id": ""}))
    with pytest.raises(RuleFailed, match="when: goes through lists that are too long"):
        found.holds(seen({**too_large, "id": ""}))


def test_an_event_cannot_speak_in_our_name_where_the_author_can() -> None:
    hostile = "<!channel> <@U1> <https://evil.example|bank> & *b*"
    assert said("<!here> *{{ entity.title }}* &amp;", title=hostile) == (
        "<!here> *&lt;!channel&gt; &lt;@U1&gt; &lt;https://evil.example|bank&gt; &amp; *b** &amp;"
    )


@pytest.mark.parametrize(
    "text",
    [
        "{{ entity.title }}", "{{ entity['title'] }}", "{% for x in [entity.title] %}{{ x }}{% endfor %}",
        "{{ [entity.title]|join(', ') }}", "{% set x = entity.title %}{{ x }}", "{{ entity.title|upper }}",
        "{{ entity.title|replace('a', 'b') }}", "{{ 'x' ~ entity.title }}", "{{ entity|tojson }}", "x{{ entity }}",
        "{{ entity.title if true else '' }}", "{{ entity.title|plain }}", "{{ [entity]|map(attribute='title')|first }}",
        "{{ entity.title|default('<!here>') }}", "{{ entity.items }}", "{{ entity.title[:40] }}",
    ],
)  # fmt: skip
@given(title=st.text(st.sampled_from("<>&!@#|channel")))
def test_nothing_that_comes_from_an_event_is_markup(text: str, title: str) -> None:
    made = said(text, title=title, items=title)
    bare = made.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "")
    assert not set(bare) & set("<>&")


def test_a_value_that_is_all_there_is_goes_along_as_it_is_and_is_escaped_too() -> None:
    step = {"deliver": "sink", "action": "send", "with": {"type": "ticket", "data": "{{ entity }}"}}
    [found] = intents(flow(step), seen({"title": "<b>", "tags": ["x"], "priority": None}))
    assert found.arguments["data"] == {"title": "<b>", "tags": ["x"], "priority": None}
    assert said("{{ entity }}", tags=["<b>"]) == {"tags": ["&lt;b&gt;"]}
    assert said("{{ entity.tags }} ", tags=["<b>", None, 1.5, True]) == '["&lt;b&gt;", null, 1.5, true] '


@pytest.mark.parametrize(
    ("text", "entity", "made"),
    [
        ("{{ entity.title }}", {"title": None}, ""),
        ("{{ entity.title|default('none') }}", {}, "none"),
        ("{{ entity.title|default('none', true) }}", {"title": None}, "none"),
        ("{{ entity.priority.category|default('none') }}", {"priority": None}, "none"),
        ("{{ entity.priority.category|default('none') }}", {}, "none"),
        ("{{ entity.title or 'none' }}", {}, "none"),
        ("{% if entity.priority.category == 'urgent' %}!{% endif %}", {}, ""),
        ("{% if entity.priority %}!{% endif %}", {"priority": None}, ""),
        ("{{ 'x' if entity.title is defined else 'y' }}", {}, "y"),
        ("{% for tag in entity.tags or [] %}{{ tag }}{% endfor %}", {}, ""),
        ("{{ entity.custom.items }}", {"custom": {"items": 5}}, "5"),
        ("{{ entity.n * 3 }}", {"n": 2}, "6"),
        ("{{ '12500.00'|float|round(1) }}", {}, "12500.0"),
        ("{{ 7|round(1) }}", {}, "7.0"),
    ],
)
def test_missing_and_null_fields_can_have_something_put_in_their_place(
    text: str, entity: Mapping[str, Any], made: str
) -> None:
    assert said(text, **entity) == made


@pytest.mark.parametrize("entity", [{}, {"priority": None}, {"priority": {}}])
def test_a_missing_field_is_named_with_what_to_do_about_it(entity: Mapping[str, Any]) -> None:
    found = failure("{{ entity.priority.category }}", **entity)
    assert found.startswith("entity.priority.category is missing: ")
    assert "default(" in found


@given(title=st.text(min_size=12).map("x".__add__))
def test_no_failure_repeats_what_a_sender_wrote(title: str) -> None:
    for text in (
        "{{ entity[entity.title] }}", "{{ previous[entity.title].x }}", "{{ entity.title * 3 }}",
        "{{ [entity]|map(entity.title)|list }}", "{{ [entity]|map(attribute=entity.title)|list }}!",
        "{{ [entity]|map(attribute=entity.title)|list }}",
        "{{ [entity]|selectattr('title', entity.title)|list }}", "{{ entity.title|round }}", "{{ entity.title.x }}",
        "{% for x in entity.title %}{% endfor %}", "{{ entity.title % 3 }}", "{{ [1, entity.title]|sum }}",
        "{{ [1, entity.title]|sort }}", "{{ {}[entity] }}",
    ):  # fmt: skip
        assert title not in failure(text, title=title)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}", "{{ ''['__class__'] }}", "{{ entity.__class__.__mro__ }}", "{{ entity['__init__'] }}",
        "{{ [entity]|map(attribute='__class__')|first }}", "{{ entity.keys }}", "{{ changed.append }}",
        "{{ entity.title.format }}", "{{ ''.join }}", "{{ '%s'.format }}", "{{ loop }}", "{{ g }}", "{{ config }}",
        "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}", "{{ namespace }}", "{{ cycler }}", "{{ lipsum }}",
    ],
)  # fmt: skip
def test_no_attribute_of_python_can_be_reached(text: str) -> None:
    assert "is missing" in failure(text, title="x")


@pytest.mark.parametrize(
    "text",
    [
        "{{ entity.title.upper() }}",
        "{{ range(9) }}",
        "{{ ''.__class__() }}",
        "{{ entity|attr('title') }}",
        "{{ entity.title|format(1) }}",
        "{{ 'x'|center(1000000000) }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ self }}",
        "{{ self.__init__ }}",
        "{% macro f() %}{{ f() }}{% endmacro %}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{% block x %}{% endblock %}",
        "{% call f() %}{% endcall %}",
        "{{ _plain }}",
        "{% set x %}{% endset %}",
        "{% filter upper %}x{% endfilter %}",
        "{{ [1]|_looped }}",
        "{{ [1]|_weighed }}",
        "{{ entity.title[1:2, 3] }}",
        "{% set _plain = 1 %}",
        "{% for x in entity recursive %}{{ loop(x) }}{% endfor %}",
        "{% for x in [1] recursive %}{% endfor %}",
        "{{ caller }}",
        "{{ super() }}",
        "{% for a in [1] %}{% for b in [1] %}{% for c in [1] %}{% endfor %}{% endfor %}{% endfor %}",
        "{{",
        "{% if %}",
        "{{ " + "(" * 3000 + " }}",
        "{{ 1|nothing }}",
        "{% with a = 1 %}{% endwith %}",
        "{{ [1]|batch(1000000000) }}",
        "{{ [1]|slice(1000000000) }}",
        "{{ [1, 2]|random }}",
        "{% autoescape true %}{% endautoescape %}",
    ],
)
def test_what_is_not_for_texts_is_refused_where_it_is_written(text: str) -> None:
    with pytest.raises(TextBroken):
        Text(text, Environment(slack.escape))


LONG = "a" * 60_000


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 3 }}",
        "{{ '%5d' % 1 }}",
        "{{ entity.title|replace('a', entity.title)|length }}",
        "{{ entity.title|list|join(entity.title)|length }}",
        "{{ 'x' * 1000000000 }}",
        "{{ entity.title * 1000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{% for x in entity.title %}x{% endfor %}",
        "{{ entity.title ~ entity.title }}",
        "{{ entity.title|replace('a', entity.title) }}",
        "{{ entity.title|list|join(entity.title) }}",
        "{% for x in entity.many %}{% endfor %}",
        "{% for a in entity.some %}{% for b in entity.some %}xxxxxxxxxx{% endfor %}{% endfor %}",
        "{{ 1.5|round(1000000000) }}{{ entity.title }}{{ entity.title }}",
        "{{ [[1]]|sum(start=entity.title) }}",
        "{{ [[1]]|map('_looped', -1000000000)|list }}",
    ],
)
def test_what_would_grow_without_end_fails_and_says_so(text: str) -> None:
    assert failure(text, title=LONG, many=list(range(1001)), some=list(range(1000)))


NESTED = "{{% for a in entity.few %}}{{% for b in entity.few %}}{}{{% endfor %}}{{% endfor %}}"


@pytest.mark.parametrize(
    "text",
    [
        "{% set a = 9999 %}" + "{% set a = a * a %}" * 26 + "{{ a > 1 }}",
        "{% set a = 9999999999999999 %}" + "{% set a = a + a %}" * 20 + "{{ a > 1 }}",
        "{% set a = -9999999999999999 %}" + "{% set a = a - 1 + a %}" * 20 + "{{ a > 1 }}",
        "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a ~ a %}" * 26 + "{{ a|length }}",
        "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a + a %}" * 26 + "{{ a|length }}",
        "{% set a = [1] %}" + "{% set a = a + a %}" * 26 + "{{ a|length }}",
        "{% set a = [1] %}" + "{% set a = [a, a] %}" * 26 + "{{ a|length }}",
        "{% set a = (1,) %}" + "{% set a = (a, a) %}" * 26 + "{{ a|length }}",
        "{% set a = {'a': 1} %}" + "{% set a = {'a': a, 'b': a} %}" * 26 + "{{ a|length }}",
        "{{ '\"'" + "|tojson" * 28 + "|length }}",
        NESTED.format("{% if a.b.c.d.e.f %}{% endif %}" * 20),
        NESTED.format("{% if entity.some|join == 'y' %}x{% endif %}"),
        NESTED.format("{% if entity.some is eq entity.none %}{% endif %}"),
        NESTED.format("{% if a in entity.some %}{% endif %}"),
        NESTED.format("{% if entity.some[1:] %}{% endif %}"),
        NESTED.format("{% if entity.title ~ a %}{% endif %}"),
        "{% set t = (1,) %}" + "{% set t = (t, t) %}" * 14 + NESTED.format("{% set x = {}[t] %}"),
        "{% for a in entity.some %}{% for b in entity.some %}{% endfor %}{% endfor %}",
        "{{ entity.more|select('in', entity.more)|list|length }}",
        "{{ entity.some|map('replace', 'a', entity.title)|list|length }}",
        "{{ entity.some|map(attribute=entity.title)|list|length }}",
        "{{ entity.title|trim(entity.title)|length }}",
        "{{ entity.large|unique|list|length }}",
        "{{ [[1], [2]]|sum(start=[]) }}",
    ],
)
def test_a_text_that_does_too_much_fails_and_says_so(text: str) -> None:
    some = list(range(1000))
    large = [number * (2**61 - 1) for number in range(1000, 3000)]
    found = failure(
        text, title=LONG, some=some, few=some[:100], none=[], more=[str(one) for one in range(2000)], large=large
    )
    assert found.startswith(("does too much", "reckons with numbers", "only numbers can be summed"))


def test_a_text_may_go_through_what_events_ordinarily_hold() -> None:
    each = "{% for x in entity.tags %}{{ x.name|title }}{% if not loop.last %}, {% endif %}{% endfor %}"
    tags = [{"name": f"tag {number}"} for number in range(1000)]
    assert said(each, tags=tags).startswith("Tag 0, Tag 1, ")
    assert said(NESTED.format("{% if a == b %}x{% endif %}"), few=tags[:100]) == "x" * 100
    assert len(said("{{ entity.body|plain|truncate(3000) }}", body="hello " * 660_000)) <= 3000
    assert said("{{ entity.tags|map(attribute='name')|reject('eq', 'tag 1')|join|length }}", tags=tags[:3]) == "10"
    assert said("{{ 'a' + entity.title + ('b' if entity.n + 1 > 2 else '') }}", title="t", n=2) == "atb"


def test_a_text_may_be_as_long_as_it_is_said() -> None:
    assert len(said("{{ entity.title }}", title="a" * MOST_TEXT)) == MOST_TEXT
    assert "truncate" in failure("x{{ entity.title }}", title="a" * MOST_TEXT)


@given(fields=FIELDS)
def test_any_event_makes_a_text_or_a_typed_failure(fields: Mapping[str, Any]) -> None:
    every = flow(
        posting(
            "{{ entity.title }} {{ entity.priority.category|default('-') }} {{ entity.tags|default([])|join(' ') }}"
        )
    )
    try:
        for intent in intents(every, seen(fields)):
            json.dumps(intent.arguments)
    except RuleFailed as error:
        assert str(error).startswith(("text: ", "channel: "))


def test_a_body_of_one_system_can_arrive_as_plain_text_in_another() -> None:
    step = {"deliver": "desk", "action": "comment", "to": "thread", "with": {"body": "{{ entity.body|plain }}"}}
    found = flow(step, on="social.reply.published")
    entity = {"thread": example(EVENT_TYPES["unsilo.ticket.ticket.created.v1"])["entity"]["id"]}
    body = "see <https://x.example|the page>, <@U1|ana> &amp; co"
    twin = {"type": "ticket", "id": "7", "connection": "desk"}
    [intent] = intents(found, seen({**entity, "body": body}), twin)
    assert intent.arguments == {"body": "see the page (https://x.example), @ana & co"}


def test_what_is_escaped_depends_on_where_it_goes() -> None:
    entity = seen({"title": "<b> & co", "id": example(EVENT_TYPES[f"unsilo.{TICKET}.v1"])["entity"]["id"]})
    [to_chat] = intents(flow(posting("{{ entity.title }}")), entity)
    assert to_chat.arguments["text"] == "&lt;b&gt; &amp; co"
    comment = {"deliver": "desk", "action": "comment", "to": "id", "with": {"body": "{{ entity.title }}"}}
    [to_desk] = intents(flow(comment), entity, {"type": "ticket", "id": "7", "connection": "desk"})
    assert to_desk.arguments["body"] == "<b> & co"


@given(body=st.text(st.sampled_from("<>|!@#&;^a")) | st.text())
def test_no_body_makes_the_plain_filter_fail(body: str) -> None:
    assert isinstance(said("{{ entity.body|plain }}", body=body), str)


def test_a_copy_of_another_type_than_the_action_is_about_is_none() -> None:
    step = {"deliver": "desk", "action": "comment", "to": "ticket", "with": {"body": "x"}}
    found = flow(step, on=COMMENT)
    ticket = seen(example(EVENT_TYPES["unsilo.ticket.comment.added.v1"])["entity"])
    assert intents(found, ticket, None) == []
    assert intents(found, ticket, {"type": "comment", "id": "7", "connection": "desk"}) == []
    assert len(intents(found, ticket, {"type": "ticket", "id": "7", "connection": "desk"})) == 1


def test_what_the_action_does_not_take_is_the_flows_failure() -> None:
    with pytest.raises(RuleFailed, match="text: String should have at least 1 character"):
        intents(flow(posting("{{ entity.title }}")), seen({"title": None}))


@pytest.mark.parametrize(
    ("step", "on", "place", "problem"),
    [
        ({"deliver": "chat", "action": "shout"}, TICKET, "do.0.action", "is no action of slack: there are post, reply"),
        ({"deliver": "deals", "action": "post"}, TICKET, "do.0.action", "none: it only listens"),
        ({"deliver": "nowhere", "action": "post"}, TICKET, "do.0.deliver", "there are chat, deals, desk"),
        ({**POST, "to": "id"}, TICKET, "do.0.to", "is not wanted"),
        ({"deliver": "chat", "action": "reply", "with": {"text": "x"}}, COMMENT, "do.0.to", "is missing"),
        (
            {"deliver": "chat", "action": "reply", "to": "body", "with": {"text": "x"}},
            COMMENT,
            "do.0.to",
            "names no object of unsilo.ticket.comment.added.v1: take one of id, ticket",
        ),
        (
            {"deliver": "chat", "action": "reply", "to": "tiket", "with": {"text": "x"}},
            COMMENT,
            "do.0.to",
            "take one of id, ticket",
        ),
        (posting("{{ entity.titel }}"), TICKET, "do.0.with", "text: entity.titel is missing"),
        (
            posting("x{% if entity.priority.category == 'urgent' %}{{ entity.titel }}{% endif %}"),
            TICKET,
            "do.0.with",
            "asks for entity.titel, which none of its events ever has",
        ),
        (posting("{{ entity.custom.tier }}"), TICKET, "do.0.with", "give it a `default('…')`"),
        (posting("{{ x"), TICKET, "do.0.with.text", "is no template"),
        (posting("x", chanel="c"), TICKET, "do.0.with.chanel", "is not taken by this action: there are channel, text"),
        ({**POST, "with": {"text": "x"}}, TICKET, "do.0.with.channel", "is missing"),
        (posting("{{ entity.tags }}"), TICKET, "do.0.with.text", "Input should be a valid string"),
        (posting("t", a=["{{ x"]), TICKET, "do.0.with.a.0", "is no template"),
        ({**POST, "deliver": "town"}, TICKET, "do.0.deliver", "is not marked `audience: internal`"),
        (
            {"deliver": "desk", "action": "comment", "to": "id", "with": {"body": "x", "public": True}},
            TICKET,
            "do.0.deliver",
            "without consent and approval",
        ),
        (POST, "ticket.ticket.creatd", "on.0", "near it: unsilo.ticket.ticket.created.v1"),
        (POST, "nonsense", "on.0", "`unsilo schemas list` shows them"),
    ],
)  # fmt: skip
def test_check_names_place_and_remedy(step: Mapping[str, Any], on: str, place: str, problem: str) -> None:
    found = broken(step, on=on)
    assert found[0] == place
    assert problem in found[1]


def test_check_names_all_slips_of_a_flow_each_once() -> None:
    steps = [posting("{{ entity.titel }}"), {**POST, "with": {"txt": "x"}}, {"deliver": "chat", "action": "shout"}]
    flow = FlowSection.model_validate({"id": "f", "on": [TICKET, COMMENT], "when": "entity.titel == ''", "do": steps})
    with pytest.raises(RuleBroken) as caught:
        Flow(flow, CONFIGURATION)
    assert [".".join(map(str, slip.path)) for slip in (caught.value, *caught.value.others)] == [
        "do.2.action",
        "when",
        "do.0.with",
        "do.1.with.channel",
        "do.1.with.text",
        "do.1.with.txt",
    ]


ECHOING = ConnectionSection(
    id="sink",
    connector="standardwebhooks",
    audience="internal",
    settings={"secret": SECRET, "types": {"case.opened": f"unsilo.{TICKET}.v1"}},
)


def through_sink(sink: ConnectionSection, **waiting: str) -> Configuration:
    """A flow that writes to the sink, and one that waits for each of those event types."""
    send = {"deliver": "sink", "action": "send", "with": {"type": "x", "data": "y"}}
    sections = [FlowSection.model_validate({"id": "to-sink", "on": "social.post.published", "do": [send]})]
    sections += [FlowSection.model_validate({"id": name, "on": on, "do": [POST]}) for name, on in waiting.items()]
    return Configuration(HubSection(), {**CONNECTIONS, "sink": sink}, {section.id: section for section in sections})


def compiled(configuration: Configuration) -> list[Flow]:
    return [Flow(section, configuration) for section in configuration.flows.values()]


@pytest.mark.parametrize("on", [TICKET, f"unsilo.{TICKET}.v1"])
def test_what_does_not_know_its_echoes_is_not_written_to_while_a_flow_waits_for_what_it_tells(on: str) -> None:
    with pytest.raises(
        RuleBroken, match=r"flow back waits for .*: set own_accounts of sink .* one direction"
    ) as caught:
        compiled(through_sink(ECHOING, back=on))
    assert caught.value.path == ("do", 0, "deliver")


def test_what_does_not_know_its_echoes_is_written_to_in_one_direction_or_where_it_names_who_we_are() -> None:
    compiled(through_sink(ECHOING, elsewhere=COMMENT))
    compiled(through_sink(ECHOING.model_copy(update={"own_accounts": ("hub",)}), back=TICKET))
    with pytest.raises(RuleBroken, match="own_accounts"):
        compiled(through_sink(ECHOING.model_copy(update={"own_accounts": ()}), back=TICKET))


def test_an_internal_comment_may_go_to_a_connection_that_is_not_marked() -> None:
    flow({"deliver": "desk", "action": "comment", "to": "id", "with": {"body": "x"}})
    flow({"deliver": "desk", "action": "comment", "to": "id", "with": {"body": "x", "public": "{{ false }}"}})


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_every_event_type_can_start_a_flow(name: str) -> None:
    flow(posting("{{ entity.id }} {{ type }} {{ complete }}"), on=name, when="entity.id != ''")
