"""Where the tests' Kafka comes from, and the names that keep tests on it apart."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as examples
from unsilo_services.broker.jars import kafka_version
from unsilo_services.broker.local import HOST, SETTINGS, LocalKafka, free_ports
from unsilo_services.errors import UnsiloError

STARTED = pytest.StashKey[ExitStack]()
BOOTSTRAP = pytest.StashKey[str]()

# How long an example takes says how busy the machine is, and nothing of what is tested.
examples.register_profile("unsilo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
examples.load_profile("unsilo")


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> str:
    """Address of the one Kafka of this test run. Tests that use it are marked `kafka`."""
    return the_kafka(request.config)


@pytest.fixture
def topic_prefix() -> str:
    """First part of the names of a test's topics and groups: no two tests share one, in this run or another."""
    return f"test-{uuid.uuid4().hex[:12]}"


def the_kafka(config: pytest.Config) -> str:
    """Started when it is first wanted, stopped when pytest ends."""
    if hasattr(config, "workerinput"):
        return str(config.workerinput["kafka_bootstrap"])
    if BOOTSTRAP not in config.stash:
        config.stash[BOOTSTRAP] = config.stash[STARTED].enter_context(running_kafka())
    return config.stash[BOOTSTRAP]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[STARTED] = ExitStack()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[STARTED].close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist (untyped): its workers share the Kafka of the process that starts them, and are told the address.

    What they will collect is not known yet, so it is started unless the marks say that nothing can need it.
    """
    if "not kafka" in node.config.option.markexpr:
        node.workerinput["kafka_bootstrap"] = "none: -m deselected kafka, so mark tests that need it"
        return
    try:
        node.workerinput["kafka_bootstrap"] = the_kafka(node.config)
    except UnsiloError as error:
        pytest.exit(f"no Kafka for the tests: {error.operator}", returncode=1)


@contextmanager
def running_kafka() -> Iterator[str]:
    """The cluster that the environment names, else one in Docker, else the local one."""
    if bootstrap := os.environ.get("UNSILO_KAFKA_BOOTSTRAP"):
        yield bootstrap
    elif docker_answers():
        with kafka_in_docker() as bootstrap:
            yield bootstrap
    else:
        # The topics of some 300 hubs fill the heap that is enough for one: collecting garbage then takes all its time.
        with LocalKafka(Path(".unsilo/kafka"), ephemeral=True, heap_mb=2048) as kafka:
            yield kafka.bootstrap


def docker_answers() -> bool:
    """Asked of the command, since the Python client leaves a socket open when nobody answers."""
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "version"], capture_output=True, timeout=30).returncode == 0


@contextmanager
def kafka_in_docker() -> Iterator[str]:
    """The version and the settings of the local Kafka. No machine we develop on has Docker: this has never been run."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    (port,) = free_ports(1)
    settings = dict(line.split("=", 1) for line in SETTINGS.read_text().splitlines() if "=" in line and line[0] != "#")
    settings |= {
        "node.id": "1",
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.quorum.voters": "1@localhost:9093",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    }
    environment = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in settings.items()}
    container = DockerContainer(f"apache/kafka:{kafka_version()}").with_envs(**environment).with_bind_ports(9092, port)
    with container.waiting_for(LogMessageWaitStrategy("Kafka Server started")):
        yield f"{HOST}:{port}"
