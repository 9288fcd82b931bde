"""BambooHR: four kinds of body, one employee each, and nothing private in any of them."""

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import ValidationError
from unsilo_connectors.bamboohr import connector
from unsilo_connectors.contract import Connection, Event, MalformedWebhook, Raw, UntrustedWebhook, WebhookRequest
from unsilo_connectors.samples import rendered, samples, stored, translated
from unsilo_connectors.secrets import Resolved
from unsilo_schemas.writer import SchemaViolation

from tests.connectors.reading import entity_of

NOW = datetime(2026, 3, 2, 8, 5, 3, tzinfo=UTC)
SAMPLES = {sample.name: sample for sample in samples(connector)}
CANARY = "canary-7f3a"
PRIVATE = [
    "Address Line 1", "Address Line 2", "address1", "Age", "Bank Name", "Benefit Group", "Birth Date", "dateOfBirth",
    "birthday", "Bonus: Amount", "City", "Compensation Change Reason", "Compensation: Date", "Contact Name", "Country",
    "Dependents", "Disability", "EEO Job Category", "eeo", "Emergency Contact", "Employee Tax Type", "Ethnicity",
    "Gender", "Home Email", "homeEmail", "Home Phone", "IBAN", "Marital Status", "maritalStatus", "National ID",
    "nationalId", "National Insurance Number", "Nationality", "NIN", "customNIN1", "Overtime Rate", "Paid per",
    "Passport Number", "Pay Group", "Pay rate", "payRate", "Pay Schedule", "Pay type", "Personal Email", "Religion",
    "Salary", "SIN", "Social Security Number", "SSN", "ssn", "State", "stateCode", "Tax File Number", "Veteran Status",
    "Visa Expiry", "Zip Code", "zipcode", "Sexual Orientation", "Hourly Rate", "Day rate", "Remuneration", "Earnings",
    "Annual Income", "Equity", "Equity Grant", "Stock Options", "Vesting Date", "Severance", "Car Allowance",
    "Retirement Plan", "401k", "Credit Card", "creditCard2", "Routing Number", "Sort Code", "BIC", "Blood Type",
    "Pregnancy", "Maternity Leave", "Parental Leave", "Covid Vaccination", "Vaccine", "Criminal Record",
    "Background Check", "Sick Days", "sickDays", "Illness", "Absence Reason", "Mobile Phone", "mobilePhone", "Cell",
    "Private Email", "bestEmail", "Best Email", "PAN", "customPAN", "PAN Number", "Aadhaar", "Aadhar No", "CPF", "BSN",
    "PESEL", "BVN", "NINO", "PPSN", "CURP", "Identity Card", "identityNumber", "Political Party",
    "creditcard", "hourlyrate", "routingnumber", "stockoptions", "mobilephone", "sexualorientation",
]  # fmt: skip


def request(body: bytes, form: bool = False, **settings: Any) -> WebhookRequest[Any]:
    valid = connector.settings.model_validate({"private_key": Resolved("key"), **settings})
    kind = "application/x-www-form-urlencoded; charset=utf-8" if form else "application/json"
    signed = connector.sign(body, valid, NOW)
    return WebhookRequest(Connection("sample", "bamboohr", valid), {"content-type": kind, **signed}, body, NOW)


def events(body: Any, form: bool = False, **settings: Any) -> list[Event]:
    encoded = urlencode(body) if form else json.dumps(body)
    raws = stored(connector, request(encoded.encode(), form, **settings))
    return [event for raw in raws for event in translated(connector, raw)]


def employee(fields: Any = None, changed: Any = (), **entry: Any) -> dict[str, Any]:
    one = {"id": "5", "action": "Updated", "timestamp": "2026-03-02T08:05:00+0000", "changedFields": list(changed)}
    return {"employees": [{**one, "fields": fields or {}, **entry}]}


def told(fields: Any, **settings: Any) -> Any:
    (event,) = events(employee(fields), **settings)
    return entity_of(event)


def test_signs_the_body_first_and_the_time_after_it() -> None:
    body = b'{"employees": []}'
    mac = hmac.new(b"key", body + b"1772438703", hashlib.sha256).hexdigest()
    headers = {"x-bamboohr-timestamp": "1772438703", "x-bamboohr-signature": mac}
    connector.verify(replace(request(body), headers=headers))
    swapped = hmac.new(b"key", b"1772438703" + body, hashlib.sha256).hexdigest()
    with pytest.raises(UntrustedWebhook, match="signature_wrong"):
        connector.verify(replace(request(body), headers={**headers, "x-bamboohr-signature": swapped}))


@pytest.mark.parametrize("key", ["key", "next"])
def test_trusts_either_of_two_active_keys(key: str) -> None:
    signed = request(b"{}", private_key=Resolved(key))
    both = request(b"{}", private_key=[Resolved("key"), Resolved("next")])
    connector.verify(replace(both, headers=signed.headers))


@pytest.mark.parametrize(
    ("late", "minutes", "reason"),
    [(300, 5, None), (301, 5, "too_old"), (-301, 5, "too_far_ahead"), (5400, 90, None), (5401, 90, "too_old")],
)
def test_tolerates_as_many_minutes_as_it_is_told(late: int, minutes: int, reason: str | None) -> None:
    delivery = replace(request(b"{}", tolerance_minutes=minutes), received_at=NOW + timedelta(seconds=late))
    if reason is None:
        connector.verify(delivery)
    else:
        with pytest.raises(UntrustedWebhook, match=reason):
            connector.verify(delivery)


def test_refuses_a_signed_time_that_is_none() -> None:
    mac = hmac.new(b"key", b"{}now", hashlib.sha256).hexdigest()
    headers = {"x-bamboohr-timestamp": "now", "x-bamboohr-signature": mac}
    with pytest.raises(UntrustedWebhook, match="timestamp_malformed"):
        connector.verify(replace(request(b"{}"), headers=headers))


def test_stores_nothing_private_wherever_it_stands_and_whatever_ails_its_neighbour() -> None:
    private = {"SSN": CANARY}
    bodies: list[Any] = [
        {"employees": [{**employee()["employees"][0], "fields": None, **private}]},
        {
            "employees": [
                {**employee()["employees"][0], "id": None, "fields": private},
                employee(private)["employees"][0],
            ]
        },
        {"type": "employee.updated", "data": {"employeeId": "5", **private}, **private},
    ]
    for body in bodies:
        for part in connector.split(request(json.dumps(body).encode())):
            assert CANARY.encode() not in part


def test_two_values_of_a_field_within_one_second_are_two_changes() -> None:
    keys = {events(employee({"First Name": name}, ["First Name"]))[0].key for name in ("Ana", "Bea", "Ana")}
    assert len(keys) == 2


@pytest.mark.parametrize("name", PRIVATE)
@pytest.mark.parametrize("form", [False, True])
def test_neither_stores_nor_tells_a_private_field(name: str, form: bool) -> None:
    if form:
        body: Any = [("employees[5][changedFields][0]", name), ("employees[5][First Name]", "Nerea")]
        body += [(f"employees[5][{name}]", CANARY), (f"employees[5][fields][{name}][value]", CANARY)]
        encoded = urlencode(body[:3]), urlencode([*body[:1], body[3]])
    else:
        fields = {"First Name": "Nerea", name: CANARY}, {name: {"value": CANARY}}
        encoded = json.dumps(employee(fields[0], [name])), json.dumps(employee(fields[1], [name]))
    for text in encoded:
        for raw in stored(connector, request(text.encode(), form)):
            assert CANARY.encode() not in raw.body
            (event,) = translated(connector, raw)
            assert CANARY not in json.dumps(rendered(event))
            assert event.changed == []


@pytest.mark.parametrize("name", PRIVATE)
def test_refuses_a_private_field_that_the_settings_ask_for(name: str) -> None:
    with pytest.raises(ValidationError, match="is private"):
        request(b"{}", custom_fields=[name])


@pytest.mark.parametrize(
    "name",
    [
        "T-Shirt Size", "Shoe Size", "LinkedIn URL", "Work Phone", "Cost Centre", "Company Car", "Single Sign On",
        "Company", "Japan Office", "Solar Panel", "companyName", "Corporate Title", "Learning Path", "Accredited",
        "Cellar Key", "Stockholm Desk", "Orientation Date", "Mobility Plan", "Cubicle",
    ],
)  # fmt: skip
def test_passes_on_what_is_not_private_where_the_settings_ask_for_it(name: str) -> None:
    assert told({name: "x"}, custom_fields=[name]).custom == {name: "x"}


def test_refuses_a_custom_field_that_is_none() -> None:
    with pytest.raises(ValidationError, match="Job Title is told anyway"):
        request(b"{}", custom_fields=["Job Title"])


def test_tells_no_field_that_it_does_not_know_unless_it_is_asked_for() -> None:
    fields = {"Shoe Size": "39", "Badge": {"value": "B7"}}
    assert told(fields).model_fields_set == {"id", "refs"}
    assert told(fields, custom_fields=["badge"]).custom == {"Badge": "B7"}
    (event,) = events(employee(fields, ["Shoe Size", "Badge", "4417"]), custom_fields=["badge"])
    assert event.changed == ["/custom/Badge"]


@pytest.mark.parametrize("name", ["First Name", "First name", "firstName", "first name"])
def test_knows_a_field_by_its_label_and_by_its_alias(name: str) -> None:
    assert told({name: "Nerea"}).given_name == "Nerea"
    assert events(employee({}, [name]))[0].changed == ["/given_name"]


@pytest.mark.parametrize("none", ["0000-00-00", "", None])
def test_a_date_of_zeros_is_none(none: str | None) -> None:
    entity = told({"Termination Date": none, "Hire Date": "2026-03-02"})
    assert entity.termination_date is None
    assert "termination_date" in entity.model_fields_set
    assert entity.hire_date.isoformat() == "2026-03-02"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Status": "Active"}, ("active", "Active")),
        ({"Status": "Inactive", "Employment Status": "Full-Time"}, ("inactive", "Inactive")),
        ({"Status": "Pending"}, (None, "Pending")),
        ({"Employment Status": "Terminated"}, ("inactive", "Terminated")),
        ({"Employment Status": "Full-Time"}, None),
    ],
)
def test_tells_a_status_only_where_it_is_one(fields: dict[str, str], status: tuple[str | None, str] | None) -> None:
    entity = told(fields)
    assert (entity.status and (entity.status.category, entity.status.raw)) == status
    assert ("status" in entity.model_fields_set) is (status is not None)


@pytest.mark.parametrize(
    ("fields", "manager"),
    [
        ({"supervisorEId": "88", "Reporting to": "Piet"}, ("88", "Piet")),
        ({"supervisorEId": 88}, ("88", None)),
        ({"Reporting to": ""}, None),
        ({"supervisorEId": None, "Reporting to": None}, None),
        ({"Reporting to": "Piet"}, "absent"),
        ({"supervisorId": "A-0088"}, "absent"),
        ({"supervisorEId": "", "Reporting to": "Piet"}, "absent"),
    ],
)
def test_knows_a_manager_by_id_only(fields: dict[str, Any], manager: Any) -> None:
    entity = told(fields)
    assert ("manager" in entity.model_fields_set) is (manager != "absent")
    if isinstance(manager, tuple):
        assert (entity.manager.remote_id, entity.manager.name) == manager
    else:
        assert entity.manager is None


def test_manager_and_employee_have_ids_of_one_kind() -> None:
    (event,) = events(employee({"supervisorEId": "5"}))
    entity: Any = entity_of(event)
    assert entity.manager.id == entity.id


@pytest.mark.parametrize("name", ["Reporting to", "reportsTo", "supervisor", "supervisorEId", "supervisorId"])
def test_a_change_of_manager_has_a_verb_of_its_own(name: str) -> None:
    (event,) = events(employee({}, ["Job Title", name]))
    assert event.type.verb == "manager_changed"


def test_a_request_of_several_employees_becomes_a_record_for_each() -> None:
    raws = stored(connector, SAMPLES["fields_two_employees"].request(connector))
    payloads = [connector.decode(raw) for raw in raws]
    assert [payload.employee for payload in payloads] == ["417", "88"]
    keys = {connector.delivery_key(payload, raw) for payload, raw in zip(payloads, raws, strict=True)}
    assert len(keys) == 2
    with pytest.raises(MalformedWebhook, match="not exactly one"):
        connector.decode(Raw(raws[0].connection, raws[0].headers, SAMPLES["fields_two_employees"].body, NOW))


def test_the_same_body_sent_at_two_times_is_two_deliveries() -> None:
    [raw] = stored(connector, request(json.dumps(employee({"City": "Lugano"}, ["City"])).encode()))
    later = raw._replace(headers={**raw.headers, "x-bamboohr-timestamp": "1772442301"})
    first, again, second = (connector.delivery_key(connector.decode(each), each) for each in (raw, raw, later))
    assert first == again != second


def test_keeps_all_that_a_body_of_one_employee_says() -> None:
    for name in ("fields_without_action", "event_updated", "fields_created"):
        request_of = SAMPLES[name].request(connector)
        assert [json.loads(raw.body) for raw in stored(connector, request_of)] == [json.loads(request_of.body)]
    request_of = SAMPLES["event_updated_form"].request(connector)
    assert [raw.body for raw in stored(connector, request_of)] == [request_of.body]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"ssn": "078-05-1120", "ssn": "", "type": "employee.updated"}', "application/json"),
        (b'{"fields": {"ssn": "078-05-1120"}, "fields": {}}', "application/json"),
        (b"employees%5B5%5D%5Bfields%5D%5BSSN%5D%5Bvalue%5D=078-05-1120", "Application/X-WWW-Form-URLencoded"),
    ],
)
def test_stores_no_private_field_however_it_is_written(body: bytes, content_type: str) -> None:
    sent = replace(request(b""), body=body, headers={"content-type": content_type})
    assert b"078-05-1120" not in b"".join(connector.split(sent))


@pytest.mark.parametrize(
    "pairs",
    [
        "type=employee.updated&data[employeeId]=5&data[fields][Salary]=90000&data[fields][SSN]=90000",
        "type=employee.updated&data[employeeId]=5&Salary=90000&Salary[value]=90000",
        "type=employee.updated&data[employeeId]=5&data[First Name]=90000",
        "Salary=90000&employees[5][First+name]=Nerea",
        "employees[5][First+Name]=Nerea&employees[5][fields][0][name]=Salary&employees[5][fields][0][value]=90000",
        "employees[5][First+Name]=Nerea&employees[5][First+Name2][Salary]=90000",
        "employees[5][First+Name][value]=Nerea&employees[5][First+Name][Salary]=90000",
        "employees[5][First+Name]=Nerea&employees[5][id][Salary]=90000&employees[5][changedFields][Salary]=90000",
        "employees[5][First+Name]=Nerea&employees[5]Salary=90000&[Salary]=90000&=90000&90000",
        "employees%5B5%5D%5BFirst+Name%5D=Nerea&employees%5B5%5D%5B%53alary%5D=90000&data%5BSalary%5D=90000",
    ],
)
def test_stores_no_pair_of_a_form_that_stands_where_nothing_told_does(pairs: str) -> None:
    raws = stored(connector, request(pairs.encode(), form=True))
    assert not [raw.body for raw in raws if b"90000" in raw.body]
    (event,) = translated(connector, raws[0])
    assert entity_of(event).refs[0].id == "5"


@pytest.mark.parametrize("name", ["Shoe Size", "Second Name", "Notiz", "customField7"])
@pytest.mark.parametrize("form", [False, True])
def test_stores_no_field_that_is_not_told(name: str, form: bool) -> None:
    if form:
        text = urlencode({"employees[5][First Name]": "Nerea", f"employees[5][{name}]": CANARY, name: CANARY})
    else:
        text = json.dumps({**employee({"First Name": "Nerea", name: CANARY}, [name], **{name: CANARY}), name: CANARY})
    (raw,) = stored(connector, request(text.encode(), form))
    assert CANARY.encode() not in raw.body
    (raw,) = stored(connector, request(text.encode(), form, custom_fields=[name]))
    assert CANARY.encode() in raw.body
    (event,) = translated(connector, raw)
    entity: Any = entity_of(event)
    assert (entity.given_name, entity.custom) == ("Nerea", {name: CANARY})


@pytest.mark.parametrize(
    "inside",
    [
        {"fields": [{"name": "Salary", "value": CANARY}]},
        {"fields": CANARY},
        {"fields": {"First Name": {"value": "Nerea", "note": CANARY}}},
        {"fields": {"First Name": {"value": {"note": CANARY}}}},
        {"fields": {"First Name": [["a", CANARY]]}},
        {"changedFields": [{"Salary": CANARY}]},
        {"changedFields": {"Salary": CANARY}},
        {"changedFields": CANARY},
        {"id": {"Salary": CANARY}},
        {"action": [CANARY]},
    ],
)
def test_stores_nothing_of_what_stands_where_it_should_not(inside: dict[str, Any]) -> None:
    (raw,) = stored(connector, request(json.dumps(employee(**inside)).encode()))
    assert CANARY.encode() not in raw.body
    assert json.loads(raw.body)["employees"][0].keys() == employee()["employees"][0].keys()


@pytest.mark.parametrize("inside", [{"fields": [{"name": "Salary", "value": 1}]}, {"fields": 5}, {"id": {"a": 1}}])
def test_what_is_of_another_kind_stays_malformed_when_it_is_not_stored(inside: dict[str, Any]) -> None:
    with pytest.raises(MalformedWebhook):
        events(employee(**inside))


@pytest.mark.parametrize("form", [False, True])
def test_tells_that_an_employee_changed_of_whom_nothing_else_is_told(form: bool) -> None:
    body: Any = {"employees": [{"id": "5 & 6", "Salary": CANARY}]}
    told_of = events({"employees[5 & 6][Salary]": CANARY} if form else body, form)
    assert [(event.type.verb, entity_of(event).refs[0].id) for event in told_of] == [("updated", "5 & 6")]


def test_keeps_the_names_of_private_fields_that_changed_and_no_more() -> None:
    (raw,) = stored(connector, request(json.dumps(employee({"SSN": CANARY}, ["SSN", "4417"])).encode()))
    assert json.loads(raw.body) == employee({}, ["SSN", "4417"])


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"employees[5][First+Name]=Nerea&employees[5][SSN]=" + CANARY.encode(), None),
        (b"employees[5][First+Name]=Nerea&employees[5][SSN]=" + CANARY.encode(), ""),
        (b"\xef\xbb\xbfemployees[5][First+Name]=Nerea", "application/x-www-form-urlencoded"),
        (b' \n{"employees":[{"id":"5","fields":{"First Name":"Nerea","SSN":"' + CANARY.encode() + b'"}}]}', None),
        (b'\xef\xbb\xbf{"employees":[{"id":"5","fields":{"First Name":"Nerea","SSN":"canary-7f3a"}}]}', None),
        (b'\xef\xbb\xbf{"employees":[{"id":"5","fields":{"First Name":"Nerea"}}]}', "application/json"),
    ],
)
def test_reads_a_body_by_its_first_sign_where_nothing_says_what_it_is(body: bytes, kind: str | None) -> None:
    sent = request(body)
    headers = {name: value for name, value in sent.headers.items() if name != "content-type"}
    said = headers if kind is None else {**headers, "content-type": kind}
    (raw,) = stored(connector, replace(sent, headers=said))
    assert CANARY.encode() not in raw.body
    (event,) = translated(connector, raw)
    assert entity_of(event).model_dump(include={"given_name"}) == {"given_name": "Nerea"}


@pytest.mark.parametrize("head", ['{"a": ', '{"type": ', '{"employees": [{"id": ', '{"employees": [{"fields": '])
def test_stores_nothing_of_a_body_nested_hundreds_deep(head: str) -> None:
    deep = '{"a": ' * 900 + f'"{CANARY}"' + "}" * 900
    body = head + deep + "".join({"{": "}", "[": "]"}[sign] for sign in reversed(head) if sign in "{[")
    for raw in stored(connector, request(body.encode())):
        assert CANARY.encode() not in raw.body
        with pytest.raises(MalformedWebhook):
            translated(connector, raw)


@pytest.mark.parametrize(
    ("body", "form", "why"),
    [
        (b'{"employees":[{"id":"5","fields":{"Salary":"' + CANARY.encode(), False, "not JSON: unreadable"),
        (b'["' + CANARY.encode() + b'"]', False, "not a JSON object"),
        (b"\xff\xfe" + '{"SSN":"canary-7f3a"}'.encode("utf-16-le"), False, "not JSON: byte 0"),
        (b'{"SSN":"' + CANARY.encode() + b'"}', True, "no pair that a form of BambooHR's has"),
        (CANARY.encode(), True, "no pair that a form of BambooHR's has"),
        (b'{"a":' * 100_000 + CANARY.encode(), False, "not JSON: unreadable"),
    ],
)
def test_keeps_of_a_body_that_it_cannot_take_apart_only_why_and_how_long_it_is(
    body: bytes, form: bool, why: str
) -> None:
    (raw,) = stored(connector, request(body, form))
    assert json.loads(raw.body) == {"withheld": why, "bytes": len(body)}
    with pytest.raises(MalformedWebhook):
        connector.decode(raw)


@pytest.mark.parametrize("form", [False, True])
def test_keeps_more_employees_than_the_hub_takes_in_one_piece_without_what_is_not_told(form: bool) -> None:
    def body(number: int) -> bytes:
        if form:
            return b"&".join(
                b"employees[%d][id]=5&employees[%d][SSN]=canary-7f3a" % (one, one) for one in range(number)
            )
        return json.dumps({"employees": [{"id": "5", "SSN": CANARY}] * number}).encode()

    assert len(stored(connector, request(body(10_000), form))) == 10_000
    (raw,) = stored(connector, request(body(10_001), form))
    assert CANARY.encode() not in raw.body
    assert raw.body.count(b"id") == 10_001
    with pytest.raises(MalformedWebhook):
        connector.decode(raw)


def test_says_the_same_of_json_and_form() -> None:
    by_json = events(employee({"First Name": "Zoë & Co", "Location": ""}, ["First Name"]))
    form = [
        ("employees[0][id]", "5"),
        ("employees[0][action]", "Updated"),
        ("employees[0][timestamp]", "2026-03-02T08:05:00+0000"),
        ("employees[0][changedFields][0]", "First Name"),
        ("employees[0][fields][First Name][value]", "Zoë & Co"),
        ("employees[0][fields][Location][value]", ""),
    ]
    by_form = events(form, form=True)
    assert [rendered(event) for event in by_json] == [rendered(event) for event in by_form]


def test_a_form_of_one_event_is_the_same_event_as_its_json() -> None:
    data = {"companyId": "1", "employeeId": "5", "changedFields": ["jobTitle", "division"]}
    by_json = events({"type": "employee.updated", "timestamp": "2026-03-02T08:05:00+0000", "data": data})
    form = [("type", "employee.updated"), ("timestamp", "2026-03-02T08:05:00+0000"), ("data[companyId]", "1")]
    form += [("data[employeeId]", "5"), ("data[changedFields][0]", "division"), ("data[changedFields][1]", "jobTitle")]
    by_form = events(form, form=True)
    assert [event.key for event in by_json] == [event.key for event in by_form]


def test_a_deletion_changes_when_it_was() -> None:
    (event,) = events(employee({"First Name": "Nerea"}, ["First Name"], action="Deleted"))
    assert event.changed == ["/deleted_at"]


def test_takes_the_time_of_sending_where_the_body_has_none() -> None:
    (event,) = events(employee({}, timestamp=None))
    assert event.time == NOW


@pytest.mark.parametrize("change", [{"timestamp": "2026-03-02T08:05:01+0000"}, {"id": "6"}, {"action": "Created"}])
def test_tells_changes_apart(change: dict[str, str]) -> None:
    assert events(employee({}, ["Job Title"]))[0].key != events(employee({}, ["Job Title"], **change))[0].key


def test_an_action_that_nobody_knows_is_left_undeclared() -> None:
    with pytest.raises(KeyError, match=r"employee_with_fields\.archived"):
        events(employee({}, action="Archived"))


@pytest.mark.parametrize(
    "body",
    [
        b"employees=1",
        b"employees[5]=1&employees[5][First+Name]=a",
        b"type=employee.updated&data=1",
        b"type=employee.updated&data[employeeId]=",
        b"data[employeeId]=5",
        b"%ff=%ff",
        b"\xff",
    ],
)
def test_calls_a_broken_form_malformed(body: bytes) -> None:
    with pytest.raises(MalformedWebhook):
        for raw in stored(connector, request(body, form=True)):
            translated(connector, raw)


def test_reads_no_more_of_a_form_than_a_form_would_hold() -> None:
    pairs = [f"employees[5][Field {number}]=" for number in range(20_001)]
    raw = stored(connector, request(b"a=1", form=True))[0]._replace(body="&".join(pairs).encode())
    with pytest.raises(MalformedWebhook, match="not a form"):
        connector.decode(raw)


@pytest.mark.parametrize("domain", ["evil.example/", "", "a b"])
def test_makes_no_address_of_a_domain_that_is_none(domain: str) -> None:
    raw = stored(connector, request(json.dumps(employee()).encode()))[0]
    (event,) = translated(connector, raw._replace(headers={**raw.headers, "company-domain": domain}))
    assert entity_of(event).refs[0].url is None


@pytest.mark.parametrize(
    "fields", [{"First Name": ["a"]}, {"First Name": {"a": 1}}, {"Hire Date": "soon"}, {"supervisorEId": True}, "x", 5]
)
def test_refuses_fields_of_another_kind(fields: Any) -> None:
    with pytest.raises((MalformedWebhook, SchemaViolation)):
        events(employee(fields))


@pytest.mark.parametrize("form", [False, True])
def test_what_stands_beside_many_employees_is_not_stored_once_for_each(form: bool) -> None:
    beside = "x" * 100_000
    if form:
        body = "&".join([f"type={beside}", *(f"employees[{number}][id]={number}" for number in range(1000))])
    else:
        body = json.dumps({"type": beside, "employees": [{"id": str(number)} for number in range(1000)]})
    (part,) = connector.split(request(body.encode(), form))
    assert len(part) < 2 * len(body)
