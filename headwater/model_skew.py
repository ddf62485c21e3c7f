"""Training/serving skew: whether a model was trained on the same features that it is asked with, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.model.columns import features_digest
from streams.stream import Stream

if TYPE_CHECKING:
    from headwater.hub import Hub


@dataclass(frozen=True)
class Skew:
    """Rows of `examples` and predictions of `scores` with one key, the newest of each: how many there are, in how many
    the features differ, and in how many each feature does."""

    scores: str
    examples: str
    rows: int
    different: int
    by_feature: dict[str, int]


def skew_of(hub: Hub, model: str) -> list[Skew]:
    """The skew of each stream of predictions of a model against its trainer's examples. Streams whose rows have no key
    in common, by the name of its columns, are left out."""
    trainer = hub.catalog.writer_of(model)
    if trainer is None:
        return []
    inputs = hub.catalog.operator(trainer).spec.inputs
    records = [one.spec for one in hub.catalog.operators() if one.spec.kind == "predict"]
    found = []
    for spec in records:
        if spec.params["model"] != model or not inputs:
            continue
        scores, examples = hub.stream(spec.outputs[0].stream), hub.stream(inputs[0].stream)
        features = [name for name in spec.params["features"] if name in examples.schema.arrow.names]
        if scores.key and features and set(scores.key) <= set(examples.schema.arrow.names):
            found.append(_compared(hub, scores, examples, features))
    return found


def _compared(hub: Hub, scores: Stream, examples: Stream, features: Sequence[str]) -> Skew:
    served, trained = _newest(hub, scores, scores.key, features), _newest(hub, examples, scores.key, features)
    both = served.join(trained, list(scores.key), join_type="inner", right_suffix=" trained")
    whole = pc.not_equal(both["digest"], both["digest trained"])
    by_feature = {
        name: _count(pc.not_equal(both[f"digest {name}"], both[f"digest {name} trained"])) for name in features
    }
    return Skew(
        scores.name,
        examples.name,
        both.num_rows,
        _count(whole),
        {name: count for name, count in by_feature.items() if count},
    )


def _newest(hub: Hub, stream: Stream, key: Sequence[str], features: Sequence[str]) -> pa.Table:
    """The digests of the newest row of each key: of all features, and of each."""
    table = hub.read(stream).table
    if stream.time is not None:
        table = table.sort_by(stream.time)
    places = table.select(list(key)).append_column("@place", pa.array(np.arange(table.num_rows)))
    last = places.group_by(list(key)).aggregate([("@place", "max")])["@place_max"]
    rows = table.take(last)
    columns = {name: rows[name] for name in key}
    columns["digest"] = features_digest(rows, features)
    columns |= {f"digest {name}": features_digest(rows, [name]) for name in features}
    return pa.table(columns)


def _count(values: pa.ChunkedArray) -> int:
    return int(pc.sum(values).as_py() or 0)
