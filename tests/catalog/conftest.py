"""Catalogs in every kind of database, and a realistic one of more than 200 streams for search."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from catalog import (
    Catalog,
    DatasetSpec,
    EntitySpec,
    FieldLink,
    FieldSpec,
    InputSpec,
    OperatorSpec,
    OutputSpec,
    PipelineSpec,
    StreamSpec,
)
from tests.services.databases import Databases

HERE = Path(__file__).parent


class Clock:
    """Ten microseconds later at every look."""

    def __init__(self) -> None:
        self.time = 1_000_000

    def __call__(self) -> int:
        self.time += 10
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """A database with nothing in it."""
    made = databases.create()
    yield made
    databases.drop(made)


@pytest.fixture
def copied(databases: Databases) -> Iterator[Callable[[str], str]]:
    """Makes copies of a catalog, for this test only."""
    made: list[str] = []

    def copy(template: str) -> str:
        made.append(databases.create(template))
        return made[-1]

    yield copy
    for one in made:
        databases.drop(one)


@pytest.fixture
def anew(empty: str, copied: Callable[[str], str]) -> str:
    """Another catalog with nothing in it."""
    return copied(empty)


@pytest.fixture
def catalog(empty: str, copied: Callable[[str], str], clock: Clock) -> Iterator[Catalog]:
    with Catalog(copied(empty), clock=clock) as opened:
        yield opened


@pytest.fixture(scope="session")
def make_stream() -> Callable[..., StreamSpec]:
    """A stream whose schema is the list of its fields: `name` or `name:entity`."""

    def make(name: str, *fields: str, **more: object) -> StreamSpec:
        specs = tuple(FieldSpec(one.partition(":")[0], "int64", entity=one.partition(":")[2] or None) for one in fields)
        schema = ",".join(one.name for one in specs)
        return StreamSpec(name, specs, schema=schema, fingerprint=f"f:{schema}", **more)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def make_operator() -> Callable[..., OperatorSpec]:
    """An operator with inputs and outputs by name; `links` maps (output, field) to its (stream, field) sources."""

    def make(
        name: str,
        inputs: list[str],
        outputs: list[str],
        *,
        version: str = "1",
        links: dict[tuple[str, str], list[tuple[str, str]]] | None = None,
    ) -> OperatorSpec:
        derived = {
            output: tuple(FieldLink(to[1], tuple(sources)) for to, sources in (links or {}).items() if to[0] == output)
            for output in outputs
        }
        return OperatorSpec(
            name=name,
            kind="map",
            version=version,
            inputs=tuple(InputSpec(one) for one in inputs),
            outputs=tuple(OutputSpec(one, derived[one]) for one in outputs),
        )

    return make


@pytest.fixture(scope="session")
def refuses_nothing() -> Callable[[str, str], list[str]]:
    return lambda old, new: []


@pytest.fixture(scope="session")
def plant(make_stream: Callable[..., StreamSpec], make_operator: Callable[..., OperatorSpec]) -> PipelineSpec:
    """readings -> clean -> valid (and quarantine); valid, sites -> join -> placed."""
    return PipelineSpec(
        name="plant",
        owner="plant-team",
        description="Watches the furnaces.",
        streams=(
            make_stream("plant.readings", "sensor:sensor", "site:site", "celsius", key=("sensor",)),
            make_stream("plant.sites", "site:site", "city", kind="table", key=("site",), codec="avro"),
            make_stream("plant.valid", "sensor:sensor", "site:site", "celsius", key=("sensor",)),
            make_stream("plant.valid.quarantine", "sensor:sensor", "celsius", "rule", role="quarantine"),
            make_stream("plant.placed", "sensor:sensor", "city", "celsius", key=("sensor",)),
        ),
        operators=(
            make_operator(
                "plant.clean",
                ["plant.readings"],
                ["plant.valid", "plant.valid.quarantine"],
                links={("plant.valid", "celsius"): [("plant.readings", "celsius")]},
            ),
            make_operator(
                "plant.join",
                ["plant.valid", "plant.sites"],
                ["plant.placed"],
                links={
                    ("plant.placed", "celsius"): [("plant.valid", "celsius")],
                    ("plant.placed", "city"): [("plant.sites", "city"), ("plant.valid", "site")],
                },
            ),
        ),
        entities=(EntitySpec("sensor", ("probe", "gauge")), EntitySpec("site", ("factory",))),
    )


@pytest.fixture(scope="session")
def planted(
    databases: Databases, plant: PipelineSpec, refuses_nothing: Callable[[str, str], list[str]]
) -> Iterator[str]:
    """A catalog in which the plant is registered, to copy."""
    made = databases.create()
    with Catalog(made, clock=Clock()) as opened:
        opened.register(plant, compatible=refuses_nothing)
    yield made
    databases.drop(made)


@pytest.fixture
def registered_at(planted: str, copied: Callable[[str], str]) -> str:
    """Where the catalog `registered` is."""
    return copied(planted)


@pytest.fixture
def registered(registered_at: str, clock: Clock) -> Iterator[Catalog]:
    """A catalog in which the plant is registered."""
    with Catalog(registered_at, clock=clock) as opened:
        yield opened


def read_streams(text: str) -> list[PipelineSpec]:
    """The pipelines of streams.txt, each stream with the side streams and operators that a real one would have."""
    pipelines: list[PipelineSpec] = []
    for line in text.splitlines():
        if line.startswith("= "):
            pipelines.append(PipelineSpec(name=line[2:].split(" | ")[1]))
        elif line.startswith("~ "):
            name, words = line[2:].split(": ")
            entity = EntitySpec(name, tuple(word.strip() for word in words.split(",")))
            pipelines[-1] = replace(pipelines[-1], entities=(*pipelines[-1].entities, entity))
        elif " | " in line and not line.startswith("#"):
            name, owner, description, fields = (part.strip() for part in re.split(r"\s\|(?=\s)", line))
            specs = tuple(_field(part.strip()) for part in fields.split(";"))
            table = name.startswith("*")
            pipelines[-1] = _with_stream(pipelines[-1], name.lstrip("*"), owner, description, specs, table)
    return pipelines


def _field(text: str) -> FieldSpec:
    name, _, entity = text.partition("@")
    return FieldSpec(name, "timestamp[us, UTC]" if name.endswith("_at") else "string", entity=entity or None)


def _with_stream(
    pipeline: PipelineSpec, name: str, owner: str, description: str, fields: tuple[FieldSpec, ...], table: bool
) -> PipelineSpec:
    def made(name: str, role: str, description: str, fields: tuple[FieldSpec, ...]) -> StreamSpec:
        schema = " ".join(one.name for one in fields)
        return StreamSpec(
            name,
            fields,
            schema=schema,
            fingerprint=schema,
            role=role,  # type: ignore[arg-type]
            kind="table" if table and role == "data" else "stream",
            key=(fields[0].name,),
            owner=owner,
            description=description,
        )

    streams = [made(name, "data", description, fields)]
    operators = list(pipeline.operators)
    if len(pipeline.streams) % 3 == 0:
        bad = (*fields, FieldSpec("broken_rule", "string"), FieldSpec("observed_value", "string"))
        streams.append(made(f"{name}.quarantine", "quarantine", f"Rows of {name} that broke its contract.", bad))
        progress = (FieldSpec("task", "int32"), FieldSpec("progress", "binary"))
        streams.append(made(f"{name}.clean.progress", "progress", f"Progress of {name}.clean.", progress))
        streams.append(made(f"{name}.clean.state", "state", f"State of {name}.clean.", progress))
        outputs = (OutputSpec(name), OutputSpec(f"{name}.quarantine"))
        about = f"Checks {name} against its contract."
        operators.append(OperatorSpec(f"{name}.clean", "clean", "1", outputs=outputs, description=about))
    return replace(pipeline, streams=(*pipeline.streams, *streams), operators=tuple(operators))


@pytest.fixture(scope="session")
def businesses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Streams of a dozen businesses in one catalog, with their quarantines, progress, operators and some datasets."""
    with Catalog(f"sqlite:///{tmp_path_factory.mktemp('businesses')}/catalog.db") as opened:
        for pipeline in read_streams((HERE / "streams.txt").read_text()):
            opened.register(pipeline, compatible=lambda old, new: [])
        for name, streams in (
            ("churn-training", ("telecom.churn_scores",)),
            ("fraud-2024", ("payments.fraud_labels",)),
        ):
            opened.register_dataset(DatasetSpec(name, {"streams": list(streams)}, {}, "d", streams))
        yield opened


@pytest.fixture(scope="session")
def realistic(databases: Databases, businesses: Catalog) -> Iterator[Catalog]:
    """The same in every kind of database."""
    made = databases.create()
    with Catalog(made) as opened:
        assert opened.adopt(businesses)
        yield opened
    databases.drop(made)


@pytest.fixture(scope="session")
def questions() -> list[tuple[str, set[str]]]:
    """What people ask, and all right answers."""
    lines = (HERE / "questions.txt").read_text().splitlines()
    pairs = (line.split(" | ") for line in lines if line and not line.startswith("#"))
    return [(question, set(names.split())) for question, names in pairs]
