"""Temperature readings of a plant: checked against a contract, joined with the sites, and in Fahrenheit too."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

import headwater as hw

HERE = Path(__file__).parent


@dataclass
class Site:
    site: str
    city: str


p = hw.Pipeline("plant", owner="plant-team", description="Temperatures of the plant's sensors")
p.entity("sensor", synonyms=["probe", "thermometer"], description="A device that measures")

# Services publish readings: `headwater publish plant.readings readings.csv`. The sites are read from their file.
readings = p.stream("readings", contract=HERE / "readings.odcs.yaml")
sites = p.table("sites", Site, key="site", description="Where the sensors stand")
p.source(sites, HERE / "sites.csv")

# What breaks the contract goes to plant.valid.quarantine, with the rule that it broke.
valid = p.clean(readings, to="valid")
placed = p.join(valid, sites, on="site", to="placed")


def to_fahrenheit(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({"fahrenheit": pc.add(pc.multiply(batch["celsius"], 1.8), 32.0)})


p.map(placed, to_fahrenheit, reads=["celsius"], to="fahrenheit", add=True)
