"""What a run learns while it goes on: the newest measures of predictions beside their baselines, and alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc
from rich.text import Text

from headwater.alarms import in_words, raised
from operators.alarms import is_alarm_stream
from operators.evaluate.report import ALL
from operators.execution.plan import Plan
from streams.log import Log
from streams.read import PartitionReader
from streams.rows import rows_of
from streams.schema import Schema
from streams.stream import Stream

#: Alarms that are shown.
NEWEST = 3
#: Windows with fewer rows are not shown: the last one is often a rest.
FEWEST = 50
_BASELINE = "accuracy_"


class Learning:
    """Follows the evaluations and alarms of a plan from where they are now."""

    def __init__(self, plan: Plan, log: Log, schemas: Callable[[int], Schema]) -> None:
        nodes = plan.nodes.values()
        measured = [node.outputs[0] for node in nodes if node.operator and node.operator.kind == "evaluate"]
        raised = [stream for node in nodes for stream in node.outputs if is_alarm_stream(stream)]
        self._measured = {stream.name: list(_readers(stream, log, schemas)) for stream in measured}
        self._raised = [reader for stream in raised for reader in _readers(stream, log, schemas)]
        self._newest: dict[str, str] = {}
        self._alarms: list[str] = []
        #: Alarms since the run began.
        self.alarms = 0

    def look(self) -> None:
        """Read what has come."""
        for name, readers in self._measured.items():
            for reader in readers:
                for arrived in reader.fetch():
                    self._newest[name] = _measures(arrived.rows) or self._newest.get(name, "")
        for reader in self._raised:
            for arrived in reader.fetch():
                rows = rows_of(reader.stream, [arrived])
                found = [f"{one.at:%Y-%m-%d}  {one.source}  {in_words(one)}" for one in raised(rows)]
                self.alarms += len(found)
                self._alarms = [*self._alarms, *found][-NEWEST:]

    def lines(self) -> list[Text]:
        """A line for each evaluation, one for each of the newest alarms."""
        found = [Text.assemble((name, "bold"), f"  {told}") for name, told in self._newest.items() if told]
        return [*found, *(Text(f"alarm  {told}", "yellow", no_wrap=True) for told in self._alarms)]


def _readers(stream: Stream, log: Log, schemas: Callable[[int], Schema]) -> Iterable[PartitionReader]:
    for number, (_, end) in enumerate(log.bounds(stream.name)):
        yield PartitionReader(log, stream, number, schemas, position=end)


def _measures(rows: pa.RecordBatch) -> str:
    """The last window of all rows in one line; nothing if there is none with enough rows."""
    whole = rows.filter(pc.and_(pc.equal(rows["slice"], ALL), pc.greater_equal(rows["rows"], FEWEST)))
    if not whole.num_rows:
        return ""
    last = whole.slice(whole.num_rows - 1).to_pylist()[0]
    beside = ", ".join(
        f"{name.removeprefix(_BASELINE).replace('_', '-')} {value:.3f}"
        for name, value in last.items()
        if name.startswith(_BASELINE) and value is not None
    )
    auc = "" if last["auc"] is None else f", AUC {last['auc']:.3f}"
    return f"until {last['at']:%Y-%m-%d}: accuracy {last['accuracy']:.3f} ({beside}){auc}"
