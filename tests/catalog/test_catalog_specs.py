"""Specs keep their values through JSON."""

from __future__ import annotations

import json

import pytest

from catalog import CatalogError, EntitySpec, PipelineSpec
from catalog.specs import from_dict, to_dict


def test_a_whole_pipeline_goes_through_json(plant: PipelineSpec) -> None:
    assert from_dict(PipelineSpec, json.loads(json.dumps(to_dict(plant)))) == plant


def test_names_of_newer_writers_are_ignored() -> None:
    assert from_dict(EntitySpec, {"name": "a", "colour": "red"}) == EntitySpec("a")


def test_a_missing_name_is_an_error() -> None:
    with pytest.raises(CatalogError, match="EntitySpec needs 'name'"):
        from_dict(EntitySpec, {"synonyms": []})
