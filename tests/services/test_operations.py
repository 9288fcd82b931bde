"""Metrics, dashboard, alerts, documents and deployment hold together: what one names, the others have.

Neither Prometheus nor Grafana nor a container runs here. Expressions are parsed by a PromQL parser, and their labels
followed through them.
"""

import ast
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import promql_parser as promql
import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from unsilo_connectors.contract import Refusal
from unsilo_schemas.catalogue import ENTITY_TYPES
from unsilo_schemas.topics import CONSUMERS, Topics
from unsilo_services import metrics, reference
from unsilo_services.broker.jars import kafka_version
from unsilo_services.broker.local import SETTINGS
from unsilo_services.dead_letters import Reason
from unsilo_services.flows.stories import Verdict
from unsilo_services.gateway.answers import GONE, HANDSHAKE, PROBLEMS, STORED, TURNED_AWAY
from unsilo_services.metrics import LABELS, VALUES, every_metric, labels_of
from unsilo_services.settings import KAFKA_PREFIX, HubSettings

ROOT = Path(__file__).parents[2]
SOURCE = Path(metrics.__file__).parent
SERVICES = ("gateway", *CONSUMERS, "monitor")
PORT = 8080
TARGET_LABELS = {"job", "instance"}  # what Prometheus adds to every series
UNSEEN = {"__name__"}

Json = dict[str, Any]


def text(place: str) -> str:
    return (ROOT / place).read_text(encoding="utf-8")


def loaded(place: str) -> Json:
    found: Json = yaml.safe_load(text(place))
    return found


def series() -> dict[str, set[str]]:
    """Every series that Prometheus scrapes of a service, with its labels."""
    found = {"up": set[str]()}
    for metric in every_metric():
        (family,) = metric.describe()
        labels = set(labels_of(metric))
        kinds = {
            "counter": {"_total": labels},
            "gauge": {"": labels},
            "histogram": {"_bucket": labels | {"le"}, "_sum": labels, "_count": labels},
        }
        found |= {family.name + suffix: own for suffix, own in kinds[family.type].items()}
    return found | {family.name: set[str]() for family in REGISTRY.collect() if family.name.startswith("process_")}


SERIES = series()
ALERTS: list[Json] = [rule for group in loaded("deploy/prometheus/alerts.yml")["groups"] for rule in group["rules"]]
DASHBOARD: Json = json.loads(text("deploy/grafana/dashboards/overview.json"))
PANELS: list[Json] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
COMPOSE = loaded("docker-compose.yml")
DOCKERFILE = text("deploy/Dockerfile")
RUNBOOKS = {
    section.partition("\n")[0]: section.partition("\n")[2]
    for section in text("docs/operator/alerts.md").split("\n## ")[1:]
}

EACH_ALERT = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
EACH_PANEL = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
EACH_METRIC = pytest.mark.parametrize("metric", every_metric(), ids=lambda metric: next(iter(metric.describe())).name)
EACH_SERVICE = pytest.mark.parametrize("service", SERVICES)


def parsed(expression: str) -> promql.Expr:
    """An expression, with Grafana's variables as Grafana fills them in; ValueError where it is none."""
    for variable, value in (("$connection", "(desk|chat)"), ("$__rate_interval", "1m")):
        expression = expression.replace(variable, value)
    assert "$" not in re.sub(r'"\$\d"', "", expression), f"a variable that the dashboard does not have: {expression}"
    return promql.parse(expression)


def selectors(expression: str) -> list[promql.VectorSelector]:
    found: list[promql.VectorSelector] = []

    def visit(node: promql.Expr) -> None:
        if isinstance(node, promql.VectorSelector):
            found.append(node)

    promql.walk(parsed(expression), visit)
    return found


def names(expression: str) -> set[str]:
    return {selector.name or "" for selector in selectors(expression)}


def result_labels(node: promql.Expr) -> set[str]:
    """The labels that a result can have. Fails where an expression names a label that is not there."""
    match node:
        case promql.MatrixSelector():
            return result_labels(node.vector_selector)
        case promql.VectorSelector():
            assert node.name in SERIES, f"no service has a series {node.name}"
            labels = SERIES[node.name] | TARGET_LABELS
            asked = {matcher.name for matcher in node.matchers.matchers} - UNSEEN
            assert asked <= labels, f"{node.name} has no label {asked - labels}"
            return labels
        case promql.AggregateExpr():
            below = result_labels(node.expr)
            if node.modifier is None:
                return set()
            kept = set(node.modifier.labels)
            assert kept <= below, f"grouped by {kept - below}, which is not there"
            return kept if node.modifier.type == promql.AggModifierType.By else below - kept
        case promql.BinaryExpr():
            left, right = result_labels(node.lhs), result_labels(node.rhs)
            if node.modifier is not None and node.modifier.matching is not None:
                matched = set(node.modifier.matching.labels)
                assert matched <= left & right, f"matched on {matched - (left & right)}, which is not on both sides"
            return left
        case promql.Call():
            below = set().union(*(result_labels(argument) for argument in node.args))
            if node.func.name == "absent":
                return set()
            made = {node.args[1].val} if node.func.name == "label_replace" else set()
            return (below - {"le"} if node.func.name == "histogram_quantile" else below) | made
        case promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr():
            return result_labels(node.expr)
        case _:
            return set()


# --- metrics and what is said of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("place", reference.files())
def test_generated_pages_are_current(place: str) -> None:
    assert text(place) == reference.files()[place], "run: make docs"


@EACH_METRIC
def test_every_label_of_a_metric_is_explained(metric: MetricWrapperBase) -> None:
    labels = set(labels_of(metric))
    closed = set(VALUES.get(metric, {}))
    assert closed <= labels
    assert labels - closed <= LABELS.keys()


def of(metric: MetricWrapperBase, label: str) -> set[str]:
    return set(VALUES[metric][label])


def test_every_reason_of_a_refusal_is_explained() -> None:
    """What is refused unproven is counted by its reason, everything else by its answer, or by why there is none."""
    receive, http = SOURCE / "gateway" / "receive.py", SOURCE / "gateway" / "http.py"
    reasons = strings_of(receive, "_refuse", 3) | strings_of(http, "_refuse", 1) | assigned(receive, "reason")
    reasons |= {"unverified_too_fast", TURNED_AWAY}
    answers = {problem.name for problem in PROBLEMS} - {"untrusted", "broken"}
    assert of(metrics.REQUESTS, "outcome") == {*get_args(Refusal), STORED, HANDSHAKE, GONE, *answers, *reasons}


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    assert of(metrics.DEAD, "reason") == set(get_args(Reason))


def test_every_end_of_a_command_is_explained() -> None:
    files = (SOURCE / "delivery").glob("*.py")
    letters = {reason for file in files for reason in strings_of(file, "DeadLetter", 0)}
    assert of(metrics.DELIVERIES, "outcome") == {"done", *letters}


def test_all_that_flows_count_is_explained() -> None:
    verdicts = set(get_args(Verdict)) - {"wait", "new"}
    assert of(metrics.FLOW_EVENTS, "outcome") == verdicts | strings_of(SOURCE / "flows" / "step.py", "_count", 1)


def test_all_that_becomes_of_a_raw_record_is_explained() -> None:
    file = SOURCE / "normalizer" / "step.py"
    assert of(metrics.RECORDS, "outcome") == strings_of(file, "labels", 1) | assigned(file, "outcomes")


def test_every_service_is_explained() -> None:
    assert of(metrics.DEAD, "consumer") == of(metrics.GROUP_MEMBERS, "group") == set(CONSUMERS)
    assert of(metrics.CONFIG_OFFSET, "service") == set(SERVICES)


def strings_of(file: Path, function: str, position: int) -> set[str]:
    """The texts that a function is given at a position, as they stand in a file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == function:
            found |= literals(node.args[position])
    return found


def assigned(file: Path, name: str) -> set[str]:
    """The texts that a variable is given in a file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            found |= literals(node.value)
    return found


def literals(node: ast.AST) -> set[str]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def counts() -> Iterator[tuple[str, str, list[ast.expr]]]:
    """Where metrics are counted: the file, the metric's name there, and what its labels are given."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "labels"
                and isinstance(node.func.value, ast.Name)
            ):
                yield file.name, node.func.value.id, node.args


def test_no_service_counts_under_a_value_that_is_not_explained() -> None:
    seen = 0
    for file, name, arguments in counts():
        metric = getattr(metrics, name)
        for label, argument in zip(labels_of(metric), arguments, strict=False):
            if isinstance(argument, ast.Constant | ast.IfExp) and label in VALUES.get(metric, {}):
                seen += 1
                given = literals(argument)
                assert given <= of(metric, label), f"{file}: {name} is counted under {given}"
    assert seen


def test_every_metric_is_counted_by_a_service() -> None:
    files = [file for file in SOURCE.rglob("*.py") if file.name != "metrics.py"]
    used = {
        node.id
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name)
    }
    declared = {name for name, found in vars(metrics).items() if isinstance(found, MetricWrapperBase)}
    assert declared - used == set()


# --- dashboard and alerts -----------------------------------------------------------------------------------------


def expressions(panel: Json) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


@EACH_METRIC
def test_every_metric_is_on_a_panel_or_in_an_alert(metric: MetricWrapperBase) -> None:
    (family,) = metric.describe()
    watched = {name for panel in PANELS for expression in expressions(panel) for name in names(expression)}
    watched |= {name for alert in ALERTS for name in names(alert["expr"])}
    assert any(re.fullmatch(f"{family.name}(_total|_bucket|_sum|_count)?", name) for name in watched)


@EACH_PANEL
def test_a_panel_asks_for_series_and_labels_that_there_are(panel: Json) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        labels = result_labels(parsed(target["expr"]))
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert shown <= labels, f"the legend shows {shown - labels}"
        if panel["type"] == "timeseries":
            assert labels <= shown, f"lines that differ by {labels - shown} look alike"


@EACH_PANEL
def test_a_panel_is_described_on_its_page(panel: Json) -> None:
    assert f"| {panel['title']} |" in text("docs/operator/dashboard.md")


@EACH_PANEL
def test_a_panel_that_can_be_narrowed_to_a_connection_is(panel: Json) -> None:
    """All but the stats, which tell of everything, and figures that belong to no connection."""
    if panel["type"] == "timeseries":
        for expression in expressions(panel):
            for selector in selectors(expression):
                asked = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
                for label in {"connection", "queue"} & SERIES[selector.name or ""]:
                    assert "(desk|chat)" in asked.get(label, "")


def test_the_page_describes_no_panel_that_is_not_there() -> None:
    described = re.findall(r"^\| (?!Panel|-)([^|]+) \|", text("docs/operator/dashboard.md"), re.MULTILINE)
    assert sorted(described) == sorted(panel["title"] for panel in PANELS)


def test_the_dashboards_rows_are_the_sections_of_its_page() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert re.findall(r"^## (.+)$", text("docs/operator/dashboard.md"), re.MULTILINE) == rows


def test_no_panel_covers_another() -> None:
    covered: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip  # noqa: E501  # one rectangle
        assert place["x"] + place["w"] <= 24
        assert not own & covered, panel["title"]
        covered |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    (source,) = loaded("deploy/grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    asked = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    (variable,) = DASHBOARD["templating"]["list"]
    assert asked | {variable["datasource"]["uid"]} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"


def test_the_connections_to_choose_from_are_those_of_the_queues() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
    assert asked is not None
    assert asked[2] in result_labels(parsed(asked[1]))
    pattern = re.compile(variable["regex"].strip("/"))
    queues = [Topics("hub").raw("desk"), Topics("hub").retry("flows")]
    found = [pattern.search(topic.name.removeprefix("hub.")) for topic in queues]
    assert [match and match[1] for match in found] == ["desk", None]


@EACH_ALERT
def test_an_alert_asks_for_series_and_labels_that_there_are(alert: Json) -> None:
    labels = result_labels(parsed(alert["expr"]))
    shown = set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"]))
    assert shown <= labels, f"the summary shows {shown - labels}"


@EACH_ALERT
def test_an_alert_has_a_runbook_that_says_what_to_do(alert: Json) -> None:
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert (page, anchor) == ("docs/operator/alerts.md", alert["alert"].lower())
    runbook = RUNBOOKS[alert["alert"]]
    assert runbook.strip().startswith(f"*{alert['labels']['severity']}.*")
    assert re.search(r"^1\. ", runbook, re.MULTILINE)


def test_every_runbook_has_an_alert() -> None:
    assert list(RUNBOOKS) == [
        alert["alert"] for alert in sorted(ALERTS, key=lambda a: list(RUNBOOKS).index(a["alert"]))
    ]
    assert len(RUNBOOKS) == len(ALERTS)


def test_records_are_called_old_long_before_any_queue_deletes_them() -> None:
    topics = Topics("hub")
    queues = [topics.raw("desk"), topics.command("desk"), topics.retry("flows"), *map(topics.event, ENTITY_TYPES)]
    (expression,) = [alert["expr"] for alert in ALERTS if alert["alert"] == "UnsiloRetentionNear"]
    days = int(re.findall(r"(\d+) \* 86400", expression)[0])
    kept = {queue.retention.days for queue in queues if queue.retention is not None}
    assert days * 2 <= min(kept)
    assert kept == {14, 90}, "the summary says so"


@pytest.mark.parametrize("page", ["alerts.md", "dashboard.md"])
def test_a_page_names_only_metrics_and_sections_that_there_are(page: str) -> None:
    said = text(f"docs/operator/{page}")
    known = {*SERIES, *(next(iter(metric.describe())).name for metric in every_metric())}
    assert set(re.findall(r"\bunsilo_(?!services|connectors|schemas)[a-z_]*[a-z]", said)) <= known
    for target, anchor in re.findall(r"\]\(([a-z./-]*)#([\w-]+)\)", said):
        headings = re.findall(r"^## (.+)$", text(f"docs/operator/{target or page}"), re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    for target in re.findall(r"\]\((?!http)([^)#]+)", said):
        assert (ROOT / "docs/operator" / target).exists(), target


@pytest.mark.parametrize("page", ["alerts.md", "dashboard.md"])
def test_a_page_says_what_was_not_run(page: str) -> None:
    assert "**Not run here.**" in text(f"docs/operator/{page}")


# --- containers ---------------------------------------------------------------------------------------------------


def environments() -> Iterator[tuple[str, Mapping[str, Any]]]:
    pairs = re.findall(r"\b([A-Z_]+)=(\S+)", "".join(re.findall(r"^ENV (?:.*\\\n)*.*$", DOCKERFILE, re.MULTILINE)))
    yield "deploy/Dockerfile", dict(pairs)
    for name, service in COMPOSE["services"].items():
        yield name, service.get("environment", {})


def test_every_environment_name_is_a_setting() -> None:
    fields = {f"UNSILO_{name}".upper() for name in HubSettings.model_fields}
    given = {name for _, environment in environments() for name in environment if name.startswith("UNSILO_")}
    assert {name for name in given if not name.startswith(KAFKA_PREFIX)} <= fields
    assert {"UNSILO_DATA", "UNSILO_KAFKA_BOOTSTRAP", "UNSILO_HEALTH_PORT", "UNSILO_GATEWAY_PORT"} <= given


def test_what_the_image_sets_is_not_changed_by_an_env_file() -> None:
    image = {name: value for name, value in dict(environments())["deploy/Dockerfile"].items() if "UNSILO_" in name}
    for service in SERVICES:
        environment = COMPOSE["services"][service]["environment"]
        assert {name: str(environment[name]) for name in image} == image


@EACH_SERVICE
def test_compose_runs_every_service_by_its_module(service: str) -> None:
    command = COMPOSE["services"][service]["command"]
    assert command == ["python", "-m", f"unsilo_services.{service}"]
    assert importlib.util.find_spec(f"{command[2]}.__main__") is not None


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_has_no_more_rights_than_it_needs(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only", False) is (name != "kafka"), "kafka's image writes its own configuration"
    assert not service.get("privileged")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_comes_back_and_is_looked_after(name: str) -> None:
    service = COMPOSE["services"][name]
    if name == "apply":  # does its work and ends
        assert (service["restart"], service["profiles"]) == ("no", ["apply"])
        return
    assert service["restart"] == "unless-stopped"
    assert ("healthcheck" in service) is (name not in SERVICES), "the image of the services brings its own"
    for other in service.get("depends_on", {}):
        assert other in COMPOSE["services"]


def test_images_are_pinned_and_kafka_is_the_one_that_is_tested_with() -> None:
    images = {service["image"] for service in COMPOSE["services"].values()} - {"unsilo"}
    assert f"apache/kafka:{kafka_version()}" in images
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images)


def test_kafka_is_set_up_as_the_local_one_is() -> None:
    local = dict(line.split("=", 1) for line in SETTINGS.read_text().splitlines() if "=" in line and line[0] != "#")
    environment = COMPOSE["services"]["kafka"]["environment"]
    given = {name.removeprefix("KAFKA_").replace("_", ".").lower(): str(value) for name, value in environment.items()}
    same = {name: value for name, value in given.items() if name in local}
    assert same == {name: local[name] for name in same}
    assert {"auto.create.topics.enable", "message.max.bytes", "offsets.topic.replication.factor"} <= same.keys()


def test_compose_mounts_what_there_is() -> None:
    own = {"./secrets", "./unsilo.yaml"}  # the operator's
    for service in COMPOSE["services"].values():
        for mount in service.get("volumes", []):
            source = mount["source"] if isinstance(mount, dict) else mount.partition(":")[0]
            assert source in COMPOSE["volumes"] or source in own or (ROOT / source).is_dir(), source


def test_grafana_finds_the_dashboard_where_it_is_mounted() -> None:
    (provider,) = loaded("deploy/grafana/provisioning/dashboards/unsilo.yaml")["providers"]
    grafana = COMPOSE["services"]["grafana"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in grafana["volumes"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/overview.json"


def test_prometheus_scrapes_every_service_where_it_answers() -> None:
    prometheus = loaded("deploy/prometheus/prometheus.yml")
    (found,) = [job for job in prometheus["scrape_configs"] if job["job_name"] == "unsilo"]
    (discovery,) = found["dns_sd_configs"]
    assert (set(discovery["names"]), discovery["port"]) == (set(SERVICES), PORT)
    assert found["relabel_configs"] == [{"source_labels": ["__meta_dns_name"], "target_label": "job"}]
    assert all((ROOT / "deploy/prometheus" / file).exists() for file in prometheus["rule_files"])


def test_alerts_and_panels_ask_for_jobs_that_there_are() -> None:
    asked = [expression for panel in PANELS for expression in expressions(panel)]
    jobs = {
        job
        for expression in [*asked, *(alert["expr"] for alert in ALERTS)]
        for selector in selectors(expression)
        for matcher in selector.matchers.matchers
        if matcher.name == "job"
        for job in matcher.value.split("|")
    }
    assert "gateway" in jobs
    assert jobs <= set(SERVICES)


def test_the_image_has_one_port_for_everything() -> None:
    image = dict(environments())["deploy/Dockerfile"]
    assert image["UNSILO_GATEWAY_PORT"] == image["UNSILO_HEALTH_PORT"] == str(PORT)
    assert f"\nEXPOSE {PORT}\n" in DOCKERFILE
    assert f"http://127.0.0.1:{PORT}/health/ready" in DOCKERFILE
    assert COMPOSE["services"]["gateway"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]


def test_the_image_is_not_roots_and_writes_to_one_folder() -> None:
    stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", stage, re.MULTILINE)
    data = dict(environments())["deploy/Dockerfile"]["UNSILO_DATA"]
    assert f"\nVOLUME {data}\n" in stage
    assert all(f"hub:{data}" in COMPOSE["services"][service]["volumes"] for service in SERVICES)


def test_the_image_is_built_from_the_lock_by_the_uv_that_contributors_use() -> None:
    (version,) = re.findall(r"^UV_VERSION := (\S+)$", text("Makefile"), re.MULTILINE)
    assert f"uv=={version}\n" in DOCKERFILE
    assert "uv sync --locked --no-dev --no-editable" in DOCKERFILE
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_takes_nothing_along_that_is_not_copied_by_name() -> None:
    ignored = text("deploy/Dockerfile.dockerignore").splitlines()
    assert "*" in ignored
    assert "!.env" not in ignored
