"""The reference pages that follow from code: every metric, every setting.

`python -m unsilo_services.reference FOLDER` writes them below the repository's folder.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from .broker.jars import CacheSettings
from .metrics import LABELS, VALUES, every_metric, labels_of
from .settings import KAFKA_PREFIX, HubSettings

SETTINGS: tuple[type[BaseSettings], ...] = (HubSettings, CacheSettings)

_SCRAPED = {"counter": "{}_total", "histogram": "{0}_bucket`, `{0}_sum`, `{0}_count", "gauge": "{}"}
_FOUND_OUT = {"instance": "the machine's name", "cache": "the user's cache folder"}  # defaults that differ by machine
_KAFKA = {
    f"{KAFKA_PREFIX}BOOTSTRAP": "addresses of the Kafka to use instead of the local one, `host:port`, comma separated",
    f"{KAFKA_PREFIX}…": "any other option of librdkafka, dots as underscores: "
    f"`{KAFKA_PREFIX}SASL_PASSWORD` is its `sasl.password`",
}
_MADE = "make docs"


def files() -> dict[str, str]:
    """The pages by their path in the repository."""
    return {
        "docs/reference/metrics.md": metrics_page(),
        "docs/reference/settings.md": settings_page(),
        ".env.example": environment_example(),
    }


def metrics_page() -> str:
    """Every metric, its labels, and what their values mean."""
    lines = [
        "# Metrics",
        "",
        f"Made from `services/unsilo_services/metrics.py` by `{_MADE}`; a test compares the two.",
        "",
        "Every service answers `/metrics` in Prometheus' text format: the gateway at its own port, the others at",
        "`UNSILO_HEALTH_PORT`. What is watched is in [dashboard](../operator/dashboard.md), and what to do about it in",
        "[alerts](../operator/alerts.md).",
        "",
        "`unsilo_queue_…`, `unsilo_group_members` and `unsilo_dead_letter_records` come from the monitor, which reads",
        "the broker: they are true also while a service is down. A queue's lag counts records, neither the marks that",
        "transactions leave nor records that were aborted, up to a thousand records of a partition; beyond that it",
        "counts offsets, and so a little too much. A record that is being finished at that moment counts as waiting.",
        "",
    ]
    for metric in every_metric():
        lines += _metric(metric)
    return "\n".join(lines)


def settings_page() -> str:
    """Every environment variable that a process of the hub reads."""
    lines = [
        "# Settings",
        "",
        f"Made from the settings classes by `{_MADE}`; a test compares the two.",
        "",
        "All of them are environment variables, read when a process starts. Connections and flows are none of them:",
        "they are in `unsilo.yaml`.",
        "",
        "| Variable | Default | What it is |",
        "|---|---|---|",
    ]
    for name, default, meaning in _settings():
        lines.append(f"| `{name}` | {f'`{default}`' if default else 'none'} | {meaning} |")
    return "\n".join([*lines, ""])


def environment_example() -> str:
    """A `.env` in which nothing is set yet."""
    lines = [
        f"# Made from the settings classes by `{_MADE}`.",
        "# Copy it to .env, which docker-compose.yml hands to every service, and keep that out of git: the secrets",
        "# that unsilo.yaml names by `env:` go there too. Each line shows its default.",
    ]
    for name, default, meaning in _settings():
        lines += ["", f"# {meaning}", f"#{name}={default}"]
    return "\n".join([*lines, ""])


def _settings() -> Iterator[tuple[str, str, str]]:
    for settings in SETTINGS:
        prefix = settings.model_config["env_prefix"]
        for name, field in settings.model_fields.items():
            yield (prefix + name).upper(), _default(name, field), field.description or ""
    for name, meaning in _KAFKA.items():
        yield name, "", meaning


def _default(name: str, field: FieldInfo) -> str:
    return str(field.default) if field.default is not PydanticUndefined else f"<{_FOUND_OUT[name]}>"


def _metric(metric: MetricWrapperBase) -> list[str]:
    (family,) = metric.describe()
    lines = [
        f"## `{family.name}`",
        "",
        f"{family.documentation}.",
        "",
        f"A {family.type}: `{_SCRAPED[family.type].format(family.name)}`.",
        "",
    ]
    for label in labels_of(metric):
        values = VALUES.get(metric, {}).get(label)
        if values is None:
            lines += [f"- `{label}`: {LABELS[label]}"]
        else:
            lines += [f"- `{label}`:", *(f"    - `{value}`: {meaning}" for value, meaning in values.items())]
    return [*lines, ""] if labels_of(metric) else lines


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m unsilo_services.reference FOLDER")
    for place, text in files().items():
        path = Path(sys.argv[1]) / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
