"""A worker's counts in the form that Prometheus asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from operators.engines.tally import Counts
from streams.message import BEGINNING, END

LABELS: Final = ("operator", "task")

_COUNTERS: Final[tuple[tuple[str, str, Callable[[Counts], int]], ...]] = (
    ("rows_taken", "Rows that the task took.", lambda one: one.rows_in),
    ("rows_made", "Rows that the task made.", lambda one: one.rows_out),
    ("batches", "Batches that the task took.", lambda one: one.batches),
    ("late_rows", "Rows behind their watermark among those taken.", lambda one: one.late),
    ("quarantined_rows", "Rows made in streams of quarantine.", lambda one: one.quarantined),
    ("restarts", "Starts of the task here beyond the first.", lambda one: max(one.starts - 1, 0)),
)


class Counted(Collector):
    """The metrics of one worker's tasks, read when they are asked for. `now` gives microseconds since 1970."""

    def __init__(self, counts: Callable[[], Iterable[Counts]], now: Callable[[], int]) -> None:
        self._counts = counts
        self._now = now

    def collect(self) -> Iterator[Metric]:
        found = list(self._counts())
        for name, meaning, of in _COUNTERS:
            counter = CounterMetricFamily(f"headwater_{name}", meaning, labels=LABELS)
            for one in found:
                counter.add_metric(_labels(one), of(one))
            yield counter
        summary = SummaryMetricFamily(
            "headwater_transaction_seconds", "How long transactions took, from the first batch on.", labels=LABELS
        )
        for one in found:
            summary.add_metric(_labels(one), count_value=one.transactions, sum_value=one.seconds)
        yield summary
        here = [one for one in found if one.running]
        yield _gauge("task_running", "1 for a task that runs here.", ((one, float(one.running)) for one in found))
        yield _gauge(
            "task_stopped", "1 for a task that stopped with an error.", ((one, float(bool(one.error))) for one in found)
        )
        yield _gauge(
            "lag_offsets", "Offsets that the inputs are ahead of what was taken.", ((one, one.lag) for one in here)
        )
        yield _gauge("state_bytes", "What the task's state takes in memory.", ((one, one.state_bytes) for one in here))
        yield _gauge(
            "watermark_delay_seconds",
            "How far the task's event time is behind the time of day; not told before the first row and after the end.",
            ((one, _delay(one, self._now())) for one in here),
        )


def exposed(counts: Callable[[], Iterable[Counts]], now: Callable[[], int]) -> Callable[[], bytes]:
    """Gives the metrics as text, with those of the process."""
    registry = CollectorRegistry()
    registry.register(Counted(counts, now))
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


def _gauge(name: str, meaning: str, values: Iterable[tuple[Counts, float | None]]) -> Metric:
    gauge = GaugeMetricFamily(f"headwater_{name}", meaning, labels=LABELS)
    for one, value in values:
        if value is not None:
            gauge.add_metric(_labels(one), value)
    return gauge


def _labels(one: Counts) -> list[str]:
    return [one.operator, str(one.task)]


def _delay(one: Counts, now: int) -> float | None:
    if one.watermark is None or one.watermark in (BEGINNING, END):
        return None
    return (now - one.watermark) / 1_000_000
