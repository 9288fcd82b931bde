"""What is said of a wrong `unsilo.yaml`: file, line, field and remedy; and that nothing of it is applied."""

import json
import os
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unsilo_services.config_files import ConfigurationRefused, read
from unsilo_services.config_topic import entries, from_entries
from unsilo_services.configuration import Configuration, ConnectionSection, HubSection, missing_secrets
from unsilo_services.documents import Fault

SECRET = "hunter2-canary"
GOOD = """\
hub: {public_url: https://hub.example.org/}
connections:
  - id: helpdesk
    connector: zendesk
    audience: internal
    settings: {signing_secret: [{env: NEW}, {file: /run/secrets/old}]}
flows:
  - id: to-desk
    on: ticket.comment.added
    when: entity.body != ""
    do:
      - deliver: helpdesk
        action: comment
        to: ticket
        with: {body: "{{ entity.body }}"}
"""

DECLARED = """\
connections:
  - {id: helpdesk, connector: zendesk, settings: {signing_secret: {env: A}}}
  - {id: wall, connector: slack, audience: internal, settings: {signing_secret: {env: B}}}
"""
WRITES = """\
flows:
  - id: f
    on: ticket.ticket.created
    do: [{deliver: wall, action: post, with: {channel: c, text: t}}]
"""


def write(folder: Path, text: str | bytes, name: str = "unsilo.yaml") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    return file


def refused(*paths: Path) -> tuple[Fault, ...]:
    with pytest.raises(ConfigurationRefused) as refusal:
        read(paths)
    return refusal.value.faults


def only_fault(folder: Path, text: str | bytes) -> Fault:
    faults = refused(write(folder, text))
    assert len(faults) == 1, faults
    return faults[0]


def test_reads_what_is_right(tmp_path: Path) -> None:
    configuration = read([write(tmp_path, GOOD)])
    assert configuration.hub.public_url == "https://hub.example.org"
    assert list(configuration.connections) == ["helpdesk"]
    assert list(configuration.flows) == ["to-desk"]


def test_comes_through_the_topic_as_it_was_with_references_and_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEW", SECRET)
    configuration = read([write(tmp_path, GOOD)])
    records = entries(configuration)
    assert from_entries(records) == configuration
    assert SECRET.encode() not in b"".join(records.values())
    assert json.loads(records["connection/helpdesk"])["settings"]["signing_secret"][0] == {"env": "NEW"}


def test_an_entry_that_cannot_be_read_is_left_out_and_the_others_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = entries(read([write(tmp_path, GOOD)]))
    broken = {"connection/x": b"{", "flow/y": b'{"id": 1}', "hub": b"null", "accounts/z": b"{}", "what/ever": b"\xff"}
    assert from_entries(
        {**broken, **{key: value for key, value in good.items() if key != "hub"}}
    ).connections.keys() == {"helpdesk"}
    (said,) = [record.getMessage() for record in caplog.records if "connection/x" in record.getMessage()]
    assert "start the services anew where its connector is new" in said


WRONG = {
    "no section": ("connectoins: []", 1, "connectoins", "did you mean connections?"),
    "a section of no name": ("systems: []", 1, "systems", "there are hub, connections, flows"),
    "a section that is no list": ("connections: {id: a}", 1, "connections", "must be a list"),
    "an empty text for a list": ("hub:\nconnections: ''", 2, "connections", "must be a list"),
    "false for a list": ("flows: false", 1, "flows", "must be a list"),
    "a hub that is no mapping": ("hub: [1]", 1, "hub", "dictionary"),
    "a password in the address": (
        "hub:\n  public_url: https://user:pass@hub.example.org",
        2,
        "hub.public_url",
        "without credentials",
    ),
    "an account that is none": (
        "connections:\n- {id: a, connector: slack, settings: {signing_secret: {env: B}}, own_accounts: ['U1', 'U 2']}",
        2,
        "connections.0.own_accounts.1",
        "match",
    ),
    "a header that events are made of": (
        "connections:\n- {id: a, connector: zendesk, settings: {signing_secret: {env: A}},\n"
        "   secret_headers: [x-a, X-Zendesk-Webhook-Invocation-Id]}",
        3,
        "connections.0.secret_headers",
        "leave it out",
    ),
    "an unknown field": ("hub: {port: 80}", 1, "hub.port", "there are public_url"),
    "an address that is none": (
        "hub:\n  public_url: hub.example.org",
        2,
        "hub.public_url",
        "such as https://hub.example.org",
    ),
    "an item that is no mapping": ("connections:\n - zendesk", 2, "connections.0", "dictionary"),
    "an item that is null": ("connections:\n -\n", 2, "connections.0", "dictionary"),
    "no id": (
        "connections:\n - connector: zendesk\n   settings: {signing_secret: {env: A}}",
        2,
        "connections.0.id",
        "is missing",
    ),
    "an id in Unicode": (
        "connections:\n - connector: slack\n   id: größe\n   settings: {signing_secret: {env: A}}",
        3,
        "connections.0.id",
        "lower-case letters, digits and hyphens",
    ),
    "an id in capitals": (
        "connections:\n - connector: slack\n   id: Chat\n   settings: {signing_secret: {env: A}}",
        3,
        "connections.0.id",
        "lower-case letters, digits and hyphens",
    ),
    "an id that is a number": (
        "connections:\n - connector: slack\n   id: 7\n   settings: {signing_secret: {env: A}}",
        3,
        "connections.0.id",
        "string",
    ),
    "an id that is a path": (
        "connections:\n - connector: slack\n   id: ../a\n   settings: {signing_secret: {env: A}}",
        3,
        "connections.0.id",
        "lower-case letters, digits and hyphens",
    ),
    "an id that ends in a line": (
        'connections:\n - connector: slack\n   id: "a\\n"\n   settings: {signing_secret: {env: A}}',
        3,
        "connections.0.id",
        "lower-case letters, digits and hyphens",
    ),
    "an id too long": (
        f"connections:\n - connector: slack\n   id: {'a' * 41}\n   settings: {{signing_secret: {{env: A}}}}",
        3,
        "connections.0.id",
        "lower-case letters, digits and hyphens",
    ),
    "no such connector": ("connections:\n - id: a\n   connector: zendesc", 3, "connections.0.connector", "zendesk"),
    "no settings": (
        "connections:\n - id: a\n   connector: slack",
        2,
        "connections.0.settings.signing_secret",
        "missing",
    ),
    "a misspelt setting": (
        "connections:\n - id: a\n   connector: slack\n   settings:\n"
        "     signing_secret: {env: A}\n     direct_mesages: true",
        6,
        "connections.0.settings.direct_mesages",
        "did you mean direct_messages?",
    ),
    "a misspelt setting that must be there": (
        "connections:\n - id: a\n   connector: slack\n   settings:\n     signing_secrt: {env: A}",
        5,
        "connections.0.settings.signing_secrt",
        "did you mean signing_secret?",
    ),
    "a misspelt kind of reference": (
        "connections:\n - id: a\n   connector: slack\n   settings: {signing_secret: {evn: A}}",
        4,
        "connections.0.settings.signing_secret",
        "has evn, which is not known here: write env; there are env and file",
    ),
    "two references at once": (
        "connections:\n - id: a\n   connector: slack\n   settings: {signing_secret: {env: A, file: b}}",
        4,
        "connections.0.settings.signing_secret",
        "one of {env: NAME} and {file: PATH}",
    ),
    "the second of two secrets": (
        "connections:\n - id: a\n   connector: slack\n   settings:\n     signing_secret:\n"
        "       - {env: A}\n       - written out",
        7,
        "connections.0.settings.signing_secret.1",
        "{env: NAME} or {file: PATH}",
    ),
    "a misspelt field of a step": (
        "flows:\n - {id: a, on: ticket.ticket.created, do: [{delivr: b, action: c}]}",
        2,
        "flows.0.do.0.delivr",
        "did you mean deliver?",
    ),
    "an unknown field of a step": (
        "flows:\n - {id: a, on: ticket.ticket.created, do: [{deliver: b, action: c, unless: d}]}",
        2,
        "flows.0.do.0.unless",
        "there are deliver, action, to, with",
    ),
    "one = in a condition": (
        "flows:\n - id: a\n   on: ticket.ticket.created\n   when: entity.title = 'a >= b'\n"
        "   do: [{deliver: b, action: post, with: {channel: c, text: t}}]\n"
        "connections: [{id: b, connector: slack, audience: internal, settings: {signing_secret: {env: A}}}]",
        4,
        "flows.0.when",
        "is no CEL expression: == compares",
    ),
    "a rate of nothing": (
        "connections:\n - id: a\n   connector: slack\n   settings: {signing_secret: {env: A}}\n   rate_per_minute: 0",
        5,
        "connections.0.rate_per_minute",
        "greater than 0",
    ),
    "bodies too large for a record": (
        "connections:\n - id: a\n   connector: slack\n   settings: {signing_secret: {env: A}}\n   max_body_bytes: 9e9",
        5,
        "connections.0.max_body_bytes",
        "less than or equal to",
    ),
    "a connection twice": (
        "connections:\n - {id: a, connector: slack, settings: {signing_secret: {env: A}}}\n"
        " - {id: a, connector: slack, settings: {signing_secret: {env: A}}}",
        3,
        "connections.1.id",
        "every connection has its own",
    ),
    "a key twice": ("hub:\n  public_url: http://a\n  public_url: http://b", 3, "hub.public_url", "a second time"),
    "a section twice": ("connections: []\nconnections: []", 2, "connections", "a second time"),
    "a flow without a type": (
        "flows:\n - {id: a, on: [], do: [{deliver: b, action: c}]}",
        2,
        "flows.0.on",
        "at least 1",
    ),
    "a flow on no type": (
        "flows:\n - id: a\n   on: ticket.ticket.exploded\n"
        "   do: [{deliver: b, action: post, with: {channel: c, text: t}}]\n"
        "connections: [{id: b, connector: slack, settings: {signing_secret: {env: A}}}]",
        3,
        "flows.0.on",
        "ticket.ticket.closed",
    ),
}


@pytest.mark.parametrize(("text", "line", "field", "remedy"), WRONG.values(), ids=WRONG)
def test_names_file_line_field_and_remedy(tmp_path: Path, text: str, line: int, field: str, remedy: str) -> None:
    fault = only_fault(tmp_path, text)
    assert (fault.file, fault.line, fault.field) == (tmp_path / "unsilo.yaml", line, field)
    assert remedy in fault.problem
    assert str(fault).startswith(f"{tmp_path / 'unsilo.yaml'}:{line}: {field}: ")


BROKEN: dict[str, tuple[str | bytes, int, str]] = {
    "an empty file": ("", 1, "is empty: write `connections:`, and `hub:` and `flows:` where they are wanted"),
    "only a comment": ("# nothing", 1, "is empty"),
    "a list": ("- a", 1, "has no sections: write `connections:`"),
    "a word": ("hello", 1, "has no sections"),
    "a tab": ("hub:\n\tpublic_url: http://a", 2, "indent with spaces"),
    "a tab before a value": ("hub:\n  \tpublic_url: http://a", 2, "indent with spaces"),
    "a text that goes on behind its quotes": ('flows:\n - when: "a" in b\n', 2, "quote the whole text"),
    "a text that does so in brackets": ('flows: [{when: "a" in b}]\n', 1, "quote the whole text"),
    "a colon in a text": ("flows:\n - when: a ? b : c: d\n", 2, "quote the whole text"),
    "an open bracket": ("hub: {\nconnections: [", 2, "is not YAML"),
    "two documents": ("hub:\n---\nhub:", 2, "another document"),
    "Latin-1": ("hub:\n  # für alle\n".encode("latin-1"), 2, "save it as UTF-8"),
    "UTF-16": ("hub: {}".encode("utf-16"), 1, "UTF-8"),
    "half a character": ('hub:\n  public_url: "http://a/\\ud800"', 2, "half a character"),
    "half a character in a name": ('hub:\n  "\\udfff": 1', 2, "a plain word"),
    "a null byte": (b"hub:\n  public_url: http://a\x00", 2, "U+0000"),
    "a Python object": ("hub:\n  public_url: !!python/object/apply:os.system [ls]", 2, "has a tag"),
    "a number that is none": ("hub:\n  public_url: !!int abc", 1, "cannot be read"),
    "a number without end": (f"hub: {{public_url: {'9' * 5000}}}", 1, "cannot be read"),
    "a key that is a list": ("? [a]\n: b", 1, "a plain word"),
    "an unknown alias": ("hub: *nobody", 1, "undefined alias"),
    "brackets without end": ("hub: " + "[" * 5_000, 1, "nested deeper"),
    "levels without need": ("hub: " + "[" * 60 + "]" * 60, 1, "nested deeper"),
    "an alias of itself": ("hub: &a [*a]", 1, "nested deeper"),
    "a merge with itself": ("hub: &a {<<: *a}", 1, "nested deeper"),
    "aliases that multiply": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "\n".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        1,
        "unfolds to more than",
    ),
}


@pytest.mark.parametrize(("text", "line", "problem"), BROKEN.values(), ids=BROKEN)
def test_says_where_a_file_is_broken(tmp_path: Path, text: str | bytes, line: int, problem: str) -> None:
    faults = refused(write(tmp_path, text))
    assert [fault.line for fault in faults if problem in fault.problem] == [line], faults


def test_a_file_may_be_as_large_as_it_is_said_and_no_larger(tmp_path: Path) -> None:
    spare = 1024 * 1024 - len(GOOD) - 2
    assert read([write(tmp_path, f"{GOOD}#{'x' * spare}\n")]).connections
    fault = only_fault(tmp_path, f"{GOOD}#{'x' * spare}y\n")
    assert "larger than 1024 KiB: share it out" in fault.problem


def test_what_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "unsilo.yaml"
    with file.open("wb") as opened:
        opened.truncate(1024**4)  # more than there is memory; the disk holds none of it
    (fault,) = refused(file)
    assert "larger than" in fault.problem


def test_what_is_no_regular_file_is_not_read_at_all(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        (fault,) = refused(path)
        assert (fault.file, fault.line) == (path, 1)
        assert fault.problem.startswith("is no regular file: ")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    assert read([write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())]).connections


def test_plain_values_are_what_yaml_1_2_says(tmp_path: Path) -> None:
    text = """\
        connections:
          - id: a
            connector: slack
            settings: {signing_secret: {env: A}}
            own_accounts: [0042, 12:30, 2026-03-02, yes, 1_000]
        """
    accounts = read([write(tmp_path, text)]).connections["a"].own_accounts
    assert accounts == ("0042", "12:30", "2026-03-02", "yes", "1_000")


def test_a_loop_through_two_flows_is_found_where_one_of_them_writes(tmp_path: Path) -> None:
    text = """\
        connections:
          - id: sink
            connector: standardwebhooks
            audience: internal
            settings: {secret: {env: A}, types: {case: unsilo.ticket.ticket.created.v1}}
        flows:
          - id: round
            on: ticket.ticket.created
            do:
              - {deliver: sink, action: send, with: {type: x, data: y}}
        """
    fault = only_fault(tmp_path, text)
    assert (fault.line, fault.field) == (10, "flows.0.do.0.deliver")
    assert "set own_accounts" in fault.problem
    assert read([write(tmp_path, text.replace("audience:", "own_accounts: [hub]\n            audience:"))]).flows


def test_says_everything_that_is_wrong_in_all_files_at_once(tmp_path: Path) -> None:
    write(tmp_path, "hub: {public_url: ftp://a}\nconnections:\n - {id: A, connector: slack}", "a.yaml")
    write(tmp_path, "connections:\n - {id: b, connector: nothing}\nflow: []", "b.yml")
    write(tmp_path, "\t", "c.yaml")
    write(tmp_path, "\t", "ignored.txt")
    faults = refused(tmp_path)
    assert [(fault.file.name, fault.line, fault.field) for fault in faults] == [
        ("c.yaml", 1, ""),
        ("a.yaml", 1, "hub.public_url"),
        ("a.yaml", 3, "connections.0.id"),
        ("a.yaml", 3, "connections.0.settings.signing_secret"),
        ("b.yml", 3, "flow"),
        ("b.yml", 2, "connections.0.connector"),
    ]


def test_a_wrong_field_of_a_connection_hides_no_other_and_is_no_fault_of_a_flow(tmp_path: Path) -> None:
    text = """\
        connections:
          - {id: chat, connector: slack, audience: everyone, partitions: 0,
             settings: {signing_secrt: {env: A}, tokn: {env: A}}}
        flows:
          - id: f
            on: [ticket.ticket.creatd, ticket.ticket.opend]
            when: entity.title ==
            do:
              - {deliver: chat, action: post, with: {channel: c, text: "{{ x"}}
              - {deliver: chap, action: post}
        """
    assert [(fault.line, fault.field) for fault in refused(write(tmp_path, text))] == [
        (2, "connections.0.audience"),
        (2, "connections.0.partitions"),
        (3, "connections.0.settings.signing_secrt"),
        (3, "connections.0.settings.tokn"),
        (6, "flows.0.on.0"),
        (6, "flows.0.on.1"),
        (7, "flows.0.when"),
        (9, "flows.0.do.0.with.text"),
        (10, "flows.0.do.1.deliver"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        DECLARED.replace("id: wall", "id: Wall_1") + WRITES.replace("wall", "Wall_1"),
        DECLARED.replace("id: wall", "id: Wall_1") + WRITES,
        DECLARED.replace("id: wall, ", "") + WRITES,
        DECLARED.replace("id: wall", "id: helpdesk") + WRITES,
        DECLARED.replace("connections", "conections") + WRITES,
        DECLARED + WRITES + "connections: [{id: other, connector: slack, settings: {signing_secret: {env: B}}}]\n",
    ],
    ids=["a bad id", "another id", "no id", "an id twice", "a misspelt section", "a section twice"],
)
def test_that_a_connection_is_faulty_is_no_fault_of_the_flow_that_writes_to_it(tmp_path: Path, text: str) -> None:
    assert only_fault(tmp_path, text).field.startswith("con")


def test_a_file_that_cannot_be_read_may_hold_what_others_write_to(tmp_path: Path) -> None:
    write(tmp_path, "\t", "broken.yaml")
    write(tmp_path, WRITES, "flows.yaml")
    assert [fault.file.name for fault in refused(tmp_path)] == ["broken.yaml"]


def test_a_key_that_stands_twice_hides_no_other_fault(tmp_path: Path) -> None:
    faults = refused(write(tmp_path, "hub: {}\nhub: {public_url: ftp://a}\nconnections: [{}]"))
    assert [fault.field for fault in faults] == ["hub", "hub.public_url", "connections.0.id", "connections.0.connector"]


def test_several_files_and_folders_are_one_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "connections"
    folder.mkdir()
    connection = "connections: [{{id: {}, connector: slack, settings: {{signing_secret: {{env: A}}}}}}]"
    for name in ("a", "b"):
        write(folder, connection.format(name), f"{name}.yaml")
    hub = write(tmp_path, "hub: {public_url: http://a}", "hub.yaml")
    flow = "flows: [{id: f, on: social.post.published, do: [{deliver: c, action: post, with: {channel: x, text: y}}]}]"
    write(tmp_path, connection.format("c").replace("id:", "audience: internal, id:") + f"\n{flow}", "c.yaml")
    configuration = read([folder, hub, tmp_path / "c.yaml"])
    assert sorted(configuration.connections) == ["a", "b", "c"]
    assert configuration.hub.public_url == "http://a"
    assert list(configuration.flows) == ["f"]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    (tmp_path / "link.yml").symlink_to(file)
    assert read([file, tmp_path, file]).connections.keys() == {"helpdesk"}


def test_two_files_with_a_hub_are_one_too_many(tmp_path: Path) -> None:
    write(tmp_path, "hub: {}", "a.yaml")
    write(tmp_path, "connections: []\nhub: {}", "b.yaml")
    (fault,) = refused(tmp_path)
    assert (fault.file.name, fault.line, fault.field) == ("b.yaml", 2, "hub")


def test_the_same_connection_in_two_files_is_one_too_many(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "a.yaml")
    write(tmp_path, "\n" + GOOD[GOOD.index("connections") : GOOD.index("flows")], "b.yaml")
    (fault,) = refused(tmp_path)
    assert (fault.file.name, fault.line, fault.field) == ("b.yaml", 3, "connections.0.id")


def test_says_which_path_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "folder.yaml").mkdir()
    (tmp_path / "odd" / "itself.yaml").symlink_to(tmp_path / "odd" / "itself.yaml")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "file").touch()
    named = ("missing.yaml", "empty", "odd", "circle", "file/below.yaml", "x" * 300)
    faults = refused(*(tmp_path / name for name in named))
    assert [(fault.file.name, fault.problem) for fault in faults] == [
        ("missing.yaml", "does not exist"),
        ("empty", "has no .yaml file in it"),
        ("folder.yaml", "cannot be read: Is a directory"),
        ("itself.yaml", "cannot be read: Too many levels of symbolic links"),
        ("circle", "cannot be read: Too many levels of symbolic links"),
        ("below.yaml", "cannot be read: Not a directory"),
        ("x" * 300, "cannot be read: File name too long"),
    ]


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        f'"{SECRET}"',
        f"*{SECRET}",
        f"&{SECRET}",
        f"!{SECRET}",
        f"!!{SECRET} x",
        f"[{SECRET}]",
        f"[{{env: A}}, {SECRET}]",
        f"{{value: {SECRET}}}",
        f"{{env: A, file: {SECRET}}}",
        f"{{file: [{SECRET}]}}",
        f"'{SECRET}",
        f'"{SECRET}\\q"',
        f"%{SECRET}",
        f"@{SECRET}",
        f"`{SECRET}`",
        f"{SECRET}: x",
        f"|{SECRET}",
        f"{{{{ {SECRET} }}}}",
    ],
)
def test_never_shows_a_secret_that_was_written_where_its_reference_belongs(tmp_path: Path, secret: str) -> None:
    text = f"connections:\n - id: a\n   connector: slack\n   settings:\n     signing_secret: {secret}\n"
    faults = refused(write(tmp_path, text))
    assert all(SECRET not in str(fault) for fault in faults), faults
    assert all(fault.line in (5, 6) for fault in faults), faults


@pytest.mark.parametrize("reference", ['{file: "/run/a\\0b"}', '{file: ""}', '{env: ""}', '{env: "A=canary"}'])
def test_a_reference_that_can_lead_nowhere_is_a_fault(tmp_path: Path, reference: str) -> None:
    text = f"connections:\n - id: a\n   connector: slack\n   settings:\n     signing_secret: {reference}\n"
    fault = only_fault(tmp_path, text)
    assert fault.field.startswith("connections.0.settings")
    assert "canary" not in fault.problem


def test_a_file_whose_name_is_too_long_is_one_that_is_not_there() -> None:
    settings = {"signing_secret": {"file": "x" * 5000}}
    section = ConnectionSection(id="a", connector="slack", settings=settings)
    found = list(missing_secrets(Configuration(HubSection(), {"a": section})))
    assert [name for name, _ in found] == ["a"]


def test_a_secret_in_the_place_of_a_reference_is_told_what_to_write(tmp_path: Path) -> None:
    text = f"connections:\n - id: a\n   connector: slack\n   settings:\n     signing_secret: {SECRET}\n"
    fault = only_fault(tmp_path, text)
    assert fault.field.startswith("connections.0.settings.signing_secret")
    assert "{env: NAME} or {file: PATH}" in fault.problem


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "hub": TREES,
        "connections": TREES
        | st.lists(
            st.fixed_dictionaries(
                {"id": TREES | st.just("a"), "connector": TREES | st.sampled_from(["slack", "zendesk"])},
                optional={"settings": TREES, "partitions": TREES, "own_accounts": TREES, "audience": TREES},
            ),
            max_size=2,
        ),
        "flows": TREES
        | st.lists(
            st.fixed_dictionaries({"id": TREES, "on": TREES, "do": TREES}, optional={"when": TREES}), max_size=2
        ),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(DOCUMENTS)
def test_whatever_is_written_is_read_or_refused_with_a_line(tmp_path: Path, document: object) -> None:
    try:
        read([write(tmp_path, json.dumps(document))])
    except ConfigurationRefused as refusal:
        assert all(fault.line >= 1 and fault.problem for fault in refusal.faults)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.binary(max_size=60) | st.text(alphabet=" \n\t-:{}[]&*!|>'\"%@`#,?<ab1", max_size=60).map(str.encode))
def test_whatever_bytes_a_file_holds_it_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    try:
        assert isinstance(read([write(tmp_path, content)]), Configuration)
    except ConfigurationRefused as refusal:
        assert all(fault.line >= 1 and fault.problem for fault in refusal.faults)
