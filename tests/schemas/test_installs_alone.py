"""Business systems install `unsilo-schemas`: it brings pydantic and msgspec, and must not need anything else."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import unsilo_schemas

PACKAGE = Path(unsilo_schemas.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem not in ("__init__", "__main__"))


def required(distribution: str) -> set[str]:
    """Names of the distributions that one asks for, without its extras."""
    wanted = importlib.metadata.requires(distribution) or []
    return {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in wanted if "extra ==" not in line}


def with_what_they_require(distributions: set[str]) -> set[str]:
    further = {name for one in distributions for name in required(one)} - distributions
    return with_what_they_require(distributions | further) if further else distributions


def installed_alone(folder: Path) -> None:
    """A folder for `sys.path` in which nothing lies but this package and what its metadata asks for."""
    (folder / PACKAGE.name).symlink_to(PACKAGE)
    for name in with_what_they_require(required("unsilo-schemas")):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            (folder / top).symlink_to(Path(str(distribution.locate_file(top))))


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """In an interpreter that knows the standard library and the folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True)


def test_asks_for_pydantic_and_msgspec_and_nothing_else() -> None:
    assert required("unsilo-schemas") == {"msgspec", "pydantic"}


def test_every_module_works_with_nothing_else_installed(tmp_path: Path) -> None:
    installed_alone(tmp_path)
    assert MODULES
    code = "\n".join(f"import unsilo_schemas.{name}" for name in MODULES)
    done = run(tmp_path, f"{code}\nassert unsilo_schemas.jsonschema.files()")
    assert done.returncode == 0, done.stderr


def test_nothing_else_was_in_reach(tmp_path: Path) -> None:
    """The test above would prove nothing in an interpreter that finds what is installed here."""
    installed_alone(tmp_path)
    assert run(tmp_path, "import pydantic").returncode == 0
    for name in ("httpx", "yaml", "unsilo_connectors", "confluent_kafka"):
        assert f"No module named '{name}'" in run(tmp_path, f"import {name}").stderr


def test_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
