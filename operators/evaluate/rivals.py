"""Whether predictions beat their baselines over the last few windows, and the alarm if they do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import erfc, sqrt
from typing import Any, Final

import orjson

from operators.alarms import BASELINE, Alarm
from operators.evaluate.report import Judged
from operators.execution.state import State

_RECENT: Final = "recent windows"


def judge_rivals(
    state: State, source: str, judged: Judged, since: int, at: int, *, windows: int, least: int
) -> Iterator[Alarm]:
    """An alarm for each baseline that was right as often as the model over the last `windows` windows, if they hold
    `least` rows or more: when that begins, and again whenever it has lasted twice as long.

    The p-value is that of a sign test over the rows on which only one of the two was right.
    """
    known: dict[str, Any] = orjson.loads(state.raw(_RECENT) or b'{"windows": [], "lasting": {}}')
    counted = judged.counted
    right = judged.predictions.correct[counted]
    apart = {}
    for name, codes in judged.baselines.items():
        theirs = codes[counted] == judged.predictions.truth[counted]
        apart[name] = [int((right & ~theirs).sum()), int((theirs & ~right).sum())]
    known["windows"] = [*known["windows"], [since, int(counted.sum()), apart]][-windows:]
    lasting: dict[str, int] = known["lasting"]
    rows = sum(window[1] for window in known["windows"])
    for name in judged.baselines:
        gained, lost = (sum(window[2].get(name, (0, 0))[side] for window in known["windows"]) for side in (0, 1))
        if rows < least or gained > lost:
            lasting.pop(name, None)
            continue
        lasting[name] = lasting.get(name, 0) + 1
        if lasting[name] & (lasting[name] - 1) == 0:
            yield Alarm(
                source,
                at,
                BASELINE,
                (lost - gained) / rows,
                0.0,
                column=name,
                p_value=_sign_test(gained, lost),
                since=int(known["windows"][0][0]),
                evidence=_evidence(rows, gained, lost, lasting[name]),
            )
    state[_RECENT] = orjson.dumps(known, option=orjson.OPT_SORT_KEYS)


def _sign_test(gained: int, lost: int) -> float:
    """How often a predictor that is as good would be behind by this much or more."""
    apart = gained + lost
    return 0.5 * erfc((lost - gained) / sqrt(2.0 * apart)) if apart else 0.5


def _evidence(rows: int, gained: int, lost: int, windows: int) -> Mapping[str, Any]:
    return {"rows": rows, "only_model_right": gained, "only_baseline_right": lost, "windows": windows}
