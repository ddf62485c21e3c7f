"""The flights job as services run it, over as many flights as FLIGHTS_ROWS in the environment says; empty: over all."""

from __future__ import annotations

import os
from typing import Final

from examples.flights.pipeline import build

pipeline: Final = build(int(os.environ.get("FLIGHTS_ROWS") or 0) or None)
