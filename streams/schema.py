"""What a stream's rows look like: an Arrow schema, its versions, and how rows are made to fit it."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Schema:
    """An Arrow schema that a stream can carry: flat or nested, every timestamp in UTC."""

    arrow: pa.Schema
