"""An Arrow expression computed on rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def computed(expression: Any, rows: pa.RecordBatch | pa.Table) -> pa.ChunkedArray:
    """The value of the expression for each row. pa.ArrowInvalid if it cannot be computed."""
    # Acero brings pyarrow.dataset with it, and that pandas where it is installed: a quarter of a second, for which only
    # those wait who compute an expression.
    import pyarrow.acero as acero

    table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(table))
    values = acero.Declaration("project", acero.ProjectNodeOptions([expression], ["value"]), inputs=[source])
    return values.to_table(use_threads=False).column(0)
