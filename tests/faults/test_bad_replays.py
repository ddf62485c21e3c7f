"""Replaying what met faults: batches that were listed, rows in the wrong partition, a function that fails only now."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw

WARM = pa.schema([("fahrenheit", pa.float64())])


def warm(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({"fahrenheit": pc.add(pc.multiply(batch["celsius"], 1.8), 32.0)})


def warm_but_not_21(batch: pa.RecordBatch) -> pa.RecordBatch:
    if 21.0 in batch["celsius"].to_pylist():
        raise ValueError("21 degrees")
    return warm(batch)


def test_batches_that_were_listed_are_listed_again(plant, rows):
    options = {"function": warm_but_not_21, "on_error": "quarantine"}
    pipeline = plant.fill(**options)
    plant.damage("plant.readings", *plant.busiest("plant.readings"))
    plant.append((plant.partition_of(rows(400, 1)[0]) + 1) % 4, rows(400, 1))
    plant.hub.publish("plant.readings", rows(401, 99))
    plant.run(pipeline)
    assert plant.count("plant.valid.failed") == 2
    assert plant.count("plant.warm.failed") == 1
    for operator in ("plant.valid", "plant.warm"):
        report = plant.hub.replay(plant.pipeline(**options), operator)
        assert report.equal
        assert report.rows == plant.count(operator) + plant.count(f"{operator}.failed")


def test_a_function_that_was_mended_makes_rows_of_what_was_listed(plant):
    plant.run(plant.fill(function=warm_but_not_21, on_error="quarantine"))
    report = plant.hub.replay(plant.pipeline(function=warm, on_error="quarantine"), "plant.warm")
    different = {one.stream: one for one in report.comparisons if not one.equal}
    assert set(different) == {"plant.warm", "plant.warm.failed"}
    listed = different["plant.warm.failed"]
    assert (listed.rows_then, listed.rows_now) == (1, 0)
    assert listed.difference.then["error"] == "plant.warm failed: The function raised ValueError: 21 degrees"
    assert listed.difference.now is None
    made = different["plant.warm"]
    assert made.rows_now > made.rows_then


def test_a_function_that_fails_only_now_is_an_error_with_its_place(plant):
    plant.run(plant.fill(function=warm))
    bounds = plant.bounds()
    with pytest.raises(hw.StepFailed, match="ValueError: 21 degrees") as failed:
        plant.hub.replay(plant.pipeline(function=warm_but_not_21), "plant.warm")
    assert failed.value.where.startswith("plant.valid ")
    assert "where it did not then" in failed.value.fix
    assert plant.bounds() == bounds


def test_an_output_that_does_not_fit_now_is_an_error_with_its_place(plant):
    plant.run(plant.fill(function=warm))
    with pytest.raises(hw.StepFailed, match="fahrenheit") as failed:
        plant.hub.replay(plant.pipeline(lambda batch: batch.select(["celsius"])), "plant.warm")
    assert failed.value.where.startswith("plant.valid ")
