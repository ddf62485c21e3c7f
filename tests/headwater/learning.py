"""A pipeline beside the starter: it learns whether a reading is warm, from its site and hour, and predicts."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB

import headwater as hw


def examples(rows: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({"hour": pc.hour(rows["at"]), "warm": pc.greater(rows["celsius"], 8.0)})


p = hw.Pipeline("learning", owner="plant-team", description="Which readings are warm")
table = pyarrow.csv.read_csv(Path(__file__).parent / "readings.csv")
table = table.set_column(2, "at", table["at"].cast(pa.timestamp("us", "UTC")))
readings = p.stream("readings", table.schema, key="sensor", time="at")
p.source(readings, table, chunk=50)
seen = p.map(readings, examples, reads=["at", "celsius"], add=True, row_wise=True, to="seen")
model = p.train(
    seen,
    target="warm",
    features=hw.features(binned={"hour": [6, 12, 18]}, onehot=["site"]),
    candidates={"quick": SGDClassifier(loss="log_loss", random_state=0), "careful": GaussianNB()},
    chunk=30,
    checkpoint_every=60,
    to="model",
)
scores = p.predict(seen, model, to="scores", keep=["warm"])
