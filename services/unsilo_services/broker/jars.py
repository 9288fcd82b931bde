"""Kafka's jars: which ones, and proof that each is the one named in the lock beside this file.

The lock has jgo's own format (`jgo.lock.toml`): coordinates and SHA-256 sums. Every jar is hashed before every start:
45 MB take less than a tenth of a second, and no stamp has to be trusted.
"""

import fcntl
import hashlib
import shutil
import sys
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from .failure import BrokerUnavailable

if TYPE_CHECKING:
    from jgo.maven import Dependency

LOCK = Path(__file__).with_name("jgo.lock.toml")
KAFKA = ("org.apache.kafka", "kafka_2.13")
KAFKA_LINE = "4.3."
"""`lock` takes the newest release of this line."""
LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl")
"""Binds Kafka's slf4j 1.7 to the log4j it brings along; Kafka's own distribution adds it too."""
DOWNLOADS_AT_ONCE = 4
ANSWER_SECONDS = 30
ATTEMPTS = 3
RETRY_SECONDS = 5


class CacheSettings(BaseSettings):
    """Where downloads are kept, from `UNSILO_…`."""

    model_config = SettingsConfigDict(env_prefix="UNSILO_", extra="ignore")

    cache: Path = Field(
        default_factory=lambda: platformdirs.user_cache_path("unsilo"),
        description="folder for the local Kafka's jars, shared by all hubs on this machine",
    )


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def locked() -> list[Jar]:
    """What the lock names, in the order of the class path."""
    entries = tomllib.loads(LOCK.read_text())["dependencies"]
    return [Jar(entry["groupId"], entry["artifactId"], entry["version"], entry["sha256"]) for entry in entries]


def kafka_version() -> str:
    return next(jar.version for jar in locked() if (jar.group, jar.artifact) == KAFKA)


def class_path(report: Callable[[str], None] = say) -> list[Path]:
    """The locked jars on this machine, each verified; those that are missing are downloaded first."""
    folder = CacheSettings().cache.absolute() / "kafka"
    jars = locked()
    try:
        if any(not (folder / jar.name).exists() for jar in jars):
            _download(jars, folder, report)
        for jar in jars:
            _verify(jar, folder / jar.name)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise BrokerUnavailable(
            f"Kafka's jars could not be had in {folder} ({reason}): check the network, its proxy and the disk, "
            "or set UNSILO_KAFKA_BOOTSTRAP to a Kafka that runs elsewhere",
            repr(error),
        ) from error
    return [folder / jar.name for jar in jars]


def _download(jars: list[Jar], folder: Path, report: Callable[[str], None]) -> None:
    from rich.console import Console
    from rich.progress import track

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "download.lock").open("w") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Another process is downloading Kafka; waiting for it")
            fcntl.flock(turn, fcntl.LOCK_EX)
        missing = [jar for jar in jars if not (folder / jar.name).exists()]
        if not missing:
            return
        report(f"Downloading Apache Kafka {kafka_version()}: {len(missing)} jars to {folder}, this once")
        incoming = folder / "incoming"
        shutil.rmtree(incoming, ignore_errors=True)
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            arrivals = pool.map(partial(_admit, folder=folder, incoming=incoming), missing)
            for _ in track(arrivals, "Kafka", len(missing), console=Console(stderr=True)):
                pass
        shutil.rmtree(incoming, ignore_errors=True)


def _admit(jar: Jar, folder: Path, incoming: Path) -> None:
    """Downloads beside the cache, verifies, and only then moves it in: the cache never holds half a file."""
    arrived = fetch(jar, incoming)
    _verify(jar, arrived)
    arrived.rename(folder / jar.name)


@retry(
    retry=retry_if_exception_type(OSError),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_random_exponential(max=RETRY_SECONDS),
    reraise=True,
)
def fetch(jar: Jar, incoming: Path) -> Path:
    """Downloads one jar with jgo, which is loaded only when there is something to download."""
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=incoming, timeout=ANSWER_SECONDS)
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    # jgo would take whatever lies in the jar's place for the jar, half a download as well.
    (incoming / artifact.component.path_prefix / artifact.cached_filename).unlink(missing_ok=True)
    return artifact.resolve()


def _verify(jar: Jar, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != jar.sha256:
        raise BrokerUnavailable(
            f"{path} is not the {jar.name} that the lock names, so it is not used: delete it and start again. "
            "If it comes back, find out who changed it",
            f"{LOCK}: expected sha256 {jar.sha256}, found {found}",
        )


def lock(report: Callable[[str], None] = say) -> None:
    """Writes the lock anew, for the newest Kafka of its line: a commit to read, not to wave through."""
    from tempfile import TemporaryDirectory

    from jgo.env import LockFile
    from jgo.maven import MavenContext

    with TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=ANSWER_SECONDS)
        project = context.project(*KAFKA)
        project.update()
        releases = [version for version in project.metadata.versions if version.removeprefix(KAFKA_LINE).isdigit()]
        newest = max(releases, key=lambda version: int(version.removeprefix(KAFKA_LINE)))
        report(f"Resolving {KAFKA[1]} {newest}")
        kafka = context.create_dependency(":".join([*KAFKA, newest]))
        kafka.scope = "compile"
        (kafka,), transitive = context.resolver.resolve([kafka])
        log4j = next(dependency.version for dependency in transitive if dependency.artifactId == "log4j-core")
        resolved: list[Dependency] = [kafka, *transitive, context.create_dependency(":".join([*LOGGING, log4j]))]
        LockFile.from_resolved_dependencies(resolved, environment_name="kafka").save(LOCK)
        report(f"{len(resolved)} jars locked in {LOCK}")
