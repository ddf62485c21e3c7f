"""Datasets: versions of frozen queries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog import Catalog, DatasetSpec, NotRegistered

SPEC = DatasetSpec(
    name="training",
    query={"streams": ["plant.placed"], "where": "celsius > 5"},
    manifest={"ranges": [["plant.placed", 0, 0, 100]]},
    digest="sha256:1",
    streams=("plant.placed",),
    expires=12,
    kept=True,
)


def test_a_dataset_comes_back_as_it_was_registered(registered: Catalog) -> None:
    record = registered.register_dataset(SPEC)
    assert (record.spec, record.version) == (SPEC, 1)
    assert registered.dataset("training") == record


def test_versions_count_up(registered: Catalog) -> None:
    registered.register_dataset(SPEC)
    assert registered.register_dataset(SPEC).version == 1
    assert registered.register_dataset(replace(SPEC, digest="sha256:2")).version == 2
    assert registered.dataset("training").spec.digest == "sha256:2"
    assert registered.dataset("training", 1).spec == SPEC
    assert [(one.name, one.version) for one in registered.datasets()] == [("training", 2)]


def test_unknown_datasets_versions_and_streams_are_errors(registered: Catalog) -> None:
    registered.register_dataset(SPEC)
    with pytest.raises(NotRegistered, match="Did you mean 'training'"):
        registered.dataset("trainings")
    with pytest.raises(NotRegistered, match=r"no version 3.*1 to 1"):
        registered.dataset("training", 3)
    with pytest.raises(NotRegistered, match=r"plant\.plaecd.*Did you mean 'plant\.placed'"):
        registered.register_dataset(replace(SPEC, streams=("plant.plaecd",)))
