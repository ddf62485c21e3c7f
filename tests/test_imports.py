"""The import direction, the size of modules and their names: what docs/architecture.md says about the packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: A package imports itself and what stands before it.
LAYERS = ("catalog", "streams", "operators", "headwater")
#: Words that say nothing about what a module is for.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
KAFKA_CLIENTS = {"kafka", "confluent_kafka", "aiokafka"}
ENGINE_LIBRARIES = {"faust", "mode", "apache_beam"}
LONGEST = 400


def modules(*packages: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, source: str) -> Iterator[str]:
    """The full name of everything that the module imports, inside functions and for type checking too."""
    package = list(path.parent.parts)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def complaints(path: Path, source: str) -> list[str]:
    """What the module imports and may not."""
    here = dotted(path)
    own = here.split(".")[0]
    found = []
    for name in imports(path, source):
        top = name.split(".")[0]
        if own in LAYERS and top in LAYERS and LAYERS.index(top) > LAYERS.index(own):
            found.append(f"{own} does not import {top}: {name}")
        if own in LAYERS and top in {"examples", "tests", "benchmarks"}:
            found.append(f"a package imports nothing of {top}/: {name}")
        if own == "migrations" and top in {"streams", "operators", "headwater"}:
            found.append(f"migrations know only the catalog: {name}")
        if inside(here, "operators") and not inside(here, "operators.engines"):
            if inside(name, "operators.engines"):
                found.append(f"only engines import engines: {name}")
            if top in KAFKA_CLIENTS | ENGINE_LIBRARIES:
                found.append(f"an operator knows no engine and no client: {name}")
            if inside(name, "streams.log.kafka") or inside(name, "streams.log.embedded"):
                found.append(f"an operator knows the log's protocol, not a log: {name}")
        if top in ENGINE_LIBRARIES and own in LAYERS and not inside(here, "operators.engines"):
            found.append(f"only engines import {top}: {name}")
        if top in KAFKA_CLIENTS and own in LAYERS and own not in {"streams", "operators"}:
            found.append(f"only a log or an engine imports {top}: {name}")
    return found


@pytest.mark.parametrize("path", modules(*LAYERS, "migrations"), ids=str)
def test_imports_only_what_it_may(path: Path) -> None:
    assert complaints(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize("path", modules("examples"), ids=str)
def test_examples_need_no_other_name_than_headwater(path: Path) -> None:
    ours = {name for name in imports(path, (ROOT / path).read_text()) if name.split(".")[0] in LAYERS}
    assert {name for name in ours if not inside(name, "headwater")} == set()


@pytest.mark.parametrize("path", modules(*LAYERS, "examples", "benchmarks"), ids=str)
def test_modules_are_short(path: Path) -> None:
    lines = len((ROOT / path).read_text().splitlines())
    assert lines <= LONGEST, f"{lines} lines: split it by idea"


@pytest.mark.parametrize("path", modules(*LAYERS, "examples", "benchmarks", "tests"), ids=str)
def test_names_say_what_a_module_is_for(path: Path) -> None:
    words = {word for part in path.with_suffix("").parts for word in part.split("_")}
    assert words & EMPTY_NAMES == set()


@pytest.mark.parametrize("package", LAYERS)
def test_packages_are_marked_as_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("catalog/search.py", "import streams.stream"),
        ("catalog/search.py", "def f():\n    from operators import operator"),
        ("streams/publish.py", "from headwater.hub import Hub"),
        ("streams/log/kafka.py", "from ...operators import operator"),
        ("operators/clean.py", "from operators.engines import embedded"),
        ("operators/execution/task.py", "import operators.engines.embedded"),
        ("operators/join/table.py", "from ..engines.faust import run"),
        ("operators/train.py", "import apache_beam as beam"),
        ("operators/train.py", "from kafka import KafkaProducer"),
        ("operators/execution/task.py", "from streams.log.embedded import EmbeddedLog"),
        ("streams/sources.py", "import apache_beam"),
        ("catalog/search.py", "import confluent_kafka"),
        ("headwater/hub.py", "from examples.flights import data"),
        ("migrations/env.py", "from headwater.config import settings"),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str) -> None:
    assert len(complaints(Path(path), source)) >= 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("streams/log/kafka.py", "import kafka\nfrom catalog.errors import HeadwaterError"),
        ("operators/engines/faust.py", "import faust\nfrom operators.engines import embedded"),
        ("operators/clean.py", "from streams.log.protocol import Log\nfrom .execution.state import State"),
        ("headwater/hub.py", "from operators.engines import embedded\nfrom streams.log.embedded import EmbeddedLog"),
    ],
)
def test_a_right_import_is_let_through(path: str, source: str) -> None:
    assert complaints(Path(path), source) == []
