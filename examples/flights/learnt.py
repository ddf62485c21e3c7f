"""What the flights job has learnt, in plain words: labels, the model beside its baselines, alarms."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sklearn.metrics import roc_auc_score

import headwater as hw
from examples.flights.learning import FUNCTIONS

#: What the model should reach over the year.
ACCURACY: Final = 0.895
AUC: Final = 0.91
RULE: Final = "left more than 15 minutes late"


def show_learnt(hub: hw.Hub, console: Console) -> None:
    """All of it, a paragraph each."""
    _show_labels(hub, console)
    _show_model(hub, console)
    _show_alarms(hub, console)


def predicted_row(hub: hw.Hub) -> hw.Row | None:
    """A prediction by a model that had learnt from outcomes: one of the last of a partition."""
    for row in reversed(list(hub.read("flights.scores", last=50))):
        if row["usable"] and row["model_version"] is not None:
            return row
    return None


def _show_labels(hub: hw.Hub, console: Console) -> None:
    truth = hub.read("flights.training", columns=["flight_id", "late"]).to_arrow().drop_null()
    labels = hub.read("flights.labels", columns=["flight_id", "label"]).to_arrow()
    votes = hub.read("flights.labels.votes", columns=["flight_id", *(one.name for one in FUNCTIONS)]).to_arrow()
    both = truth.join(labels, "flight_id").join(votes, "flight_id")
    if not both.num_rows:
        return
    late = np.asarray(both["late"].to_numpy(), dtype=bool)
    cast = np.column_stack([both[one.name].to_numpy() for one in FUNCTIONS])
    for_late, against = (cast == 1).sum(axis=1), (cast == 0).sum(axis=1)
    told = pc.fill_null(both["label"], False).to_numpy().astype(bool)
    model, majority = float((told == late).mean()), float(((for_late > against) == late).mean())
    console.print(
        f"\n[bold]Weak labels[/]: {len(FUNCTIONS)} rules of thumb, weighed against one another without an outcome, "
        f"were right for {model:.1%} of {both.num_rows:,} flights; their majority for {majority:.1%}."
    )
    if model < majority:
        console.print("[yellow]That is less than the majority, which should not be.[/]")


def _show_model(hub: hw.Hub, console: Console) -> None:
    judged = hub.read("flights.quality.judged").to_arrow()
    judged = judged.filter(pc.and_(pc.is_valid(judged["late"]), pc.is_valid(judged["predicted"])))
    if not judged.num_rows:
        return
    late, predicted = (np.asarray(judged[name].to_numpy(), dtype=bool) for name in ("late", "predicted"))
    ruled = np.asarray(judged["dep_delay"].to_numpy()) > 15
    accuracy = float((predicted == late).mean())
    auc = float(roc_auc_score(late, judged["score"].to_numpy())) if late.any() and not late.all() else float("nan")
    beside = {name: _over_windows(hub, f"accuracy_{name}") for name in ("no_change", "majority")}
    rule = float((ruled == late).mean())
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value, best in (
        ("the model", accuracy, True),
        (f'"{RULE}", the best single rule', rule, False),
        ("always the more frequent outcome", beside["majority"], False),
        ("as the flight before", beside["no_change"], False),
    ):
        table.add_row(Text(f"  {name}", "bold" if best else ""), Text(f"{value:.3f}", "bold" if best else ""))
    console.print(f"\n[bold]The model[/] told {judged.num_rows:,} departures beforehand. It was right, as a share:")
    console.print(table)
    console.print(f"  AUC {auc:.3f}. It is trained on, twice a day, as outcomes come in; each row is predicted first.")
    for reached, goal, what in ((accuracy, max(ACCURACY, rule), "accuracy"), (auc, AUC, "AUC")):
        if not reached >= goal:
            console.print(f"[yellow]  Its {what} of {reached:.3f} misses the goal of {goal:.3f}.[/]")


def _over_windows(hub: hw.Hub, column: str) -> float:
    """The mean of a measure over all windows, by their rows."""
    table = hub.read("flights.quality", columns=["slice", "rows", column]).to_arrow()
    table = table.filter(pc.equal(table["slice"], "all")).drop_null()
    rows = np.asarray(table["rows"].to_numpy())
    return float((np.asarray(table[column].to_numpy()) * rows).sum() / max(rows.sum(), 1))


def _show_alarms(hub: hw.Hub, console: Console) -> None:
    alarms = hub.alarms()
    counted = f"{len(alarms):,} alarm{'s' * (len(alarms) != 1)}"
    console.print(f"\n[bold]{counted}[/] over the year, by month, with what each is about and its size.")
    found: dict[tuple[str, str, str], list[Any]] = {}
    for one in alarms:
        found.setdefault((f"{one.at:%Y-%m}", one.kind, one.column or one.source), []).append(one)
    table = Table.grid(padding=(0, 2, 0, 0))
    months = Counter(month for month, _, _ in found)
    for month in sorted(months):
        told = ", ".join(
            f"{kind} {about} {max(abs(one.size) for one in listed):.2g}"
            + (f" ({len(listed)} ×)" if len(listed) > 1 else "")
            for (at, kind, about), listed in sorted(found.items())
            if at == month
        )
        table.add_row(Text(f"  {month}", "dim"), told)
    console.print(table)
    retrained = hub.read("flights.model", columns=["event"]).to_arrow()
    events = Counter(retrained["event"].to_pylist())
    console.print(
        f"  {events['promoted']} times another model took over, {events['rolled_back']} times the one before came "
        f"back; {events['checkpoint']:,} versions in all."
    )
