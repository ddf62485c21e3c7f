"""What is learnt from departures: whether a flight will come late, by weak labels at once and by a model that goes on
learning as the outcomes come in; how good that is, and when something has changed.

Everything here is a stream: labels, models, predictions, measures, drift and alarms.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from sklearn.linear_model import SGDClassifier

import headwater as hw

#: Examples that are learnt at a time, about half a day.
CHUNK: Final = 500

#: Predictions are measured, and looked at for drift, over so much time; the first weeks are what is normal.
WINDOW: Final = "7d"
REFERENCE: Final = "28d"

#: Alarms are heard so much later. A turn of the loop must be shorter than that, though three operators in it wait for
#: the next rows, and in a blizzard nothing leaves for a day: so they wait for no longer than PATIENCE each.
DELAY: Final = "7d"
PATIENCE: Final = "2d"

#: Rules of thumb of people who know airports. Each may be wrong, and abstains where it has nothing to say.
FUNCTIONS: Final = [
    hw.rule("left_late", "dep_delay > 20", True),
    hw.rule("left_very_late", "dep_delay > 45", True),
    hw.rule("left_on_time", "dep_delay <= 0", False),
    hw.rule("a_little_late", "dep_delay > 0 and dep_delay <= 10", False),
    hw.rule("expected_late", "expected_delay > 18", True, otherwise=False),
    hw.rule("expected_on_time", "expected_delay < 8", False),
    hw.rule("rain_or_fog", "(precip > 0.05 or visib < 3) and dep_delay > 5", True),
    hw.rule("evening_rush", "hour >= 17 and dep_delay > 12", True),
    hw.rule("early_bird", "hour < 9 and dep_delay < 10", False),
    hw.rule("others_lose", "lost_to > 8 and dep_delay > 5", True),
]

#: What the model sees: a delay in several forms, the weather, the route, what others have just lost.
FEATURES: Final = hw.features(
    plain=["delay_curve", "delay_log", "delay_edge", "lost_from_curve", "lost_to_curve"],
    binned={
        "dep_delay": [
            -15,
            -10,
            -7,
            -5,
            -3,
            -1,
            0,
            2,
            5,
            8,
            10,
            12,
            14,
            16,
            18,
            20,
            22,
            25,
            28,
            32,
            36,
            40,
            50,
            75,
            120,
        ],
        "expected_delay": [-30, -20, -15, -10, -5, 0, 3, 6, 9, 12, 15, 18, 21, 25, 30, 40, 60],
        "visib": [1, 3, 6, 9],
        "wind_speed": [5, 10, 15, 20, 25],
        "precip": [0.001, 0.05],
        "pressure": [1000, 1008, 1015, 1022],
        "distance": [200, 400, 600, 900, 1200, 1800, 2400],
        "hour": [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21],
    },
    onehot={"carrier": 20, "origin": 3, "dest": 110},
)
MISTAKE: Final = hw.Schema(pa.schema([pa.field("mistake", pa.bool_())])).described(
    {"mistake": "True if the flight came late and was predicted not to, or the other way round."}
)
WATCHED: Final = ["dep_delay", "expected_delay", "wind_speed", "visib", "pressure", "precip", "carrier", "dest"]


def learn(p: hw.Pipeline, departures: hw.Stream, training: hw.Stream) -> None:
    """Declare all of it: `departures` with their features, `training` the same with outcomes, when those are known."""
    labels = p.label(
        departures,
        FUNCTIONS,
        classes=[False, True],
        keep=FEATURES.columns,
        update_every=5 * CHUNK,
        to="labels",
        description="Probably late or not, by rules of thumb alone, at the moment of departure.",
        owner="delay-prediction",
        tags=["flights", "labels"],
    )
    model = p.train(
        training,
        target="late",
        censored="censored",
        features=FEATURES,
        candidates={
            "steady": SGDClassifier(loss="log_loss", alpha=3e-3, random_state=0),
            "quick": SGDClassifier(loss="log_loss", alpha=1e-5, learning_rate="constant", eta0=0.005, random_state=0),
        },
        # Until there are enough outcomes it learns from the rules of thumb.
        weak=labels,
        weak_until=10 * CHUNK,
        chunk=CHUNK,
        checkpoint_every=4 * CHUNK,
        retrain_on=hw.later("drift.alarms", delay=DELAY),
        tick=PATIENCE,
        to="model",
        description="Models of whether a departure will come late: champion and challengers.",
        owner="delay-prediction",
        tags=["flights", "model"],
    )
    scores = p.predict(
        departures,
        model,
        shadows=False,
        tick=PATIENCE,
        to="scores",
        description="The probability that a departure will come late, as it was told at that moment.",
        owner="delay-prediction",
        tags=["flights", "prediction"],
    )
    p.evaluate(
        scores,
        training,
        on="flight_id",
        label="late",
        censored="censored",
        window=WINDOW,
        by=["origin"],
        baselines={"left_late": ("dep_delay", 15)},
        tolerance="2d",
        tick=PATIENCE,
        to="quality",
        description="How good the predictions were, week by week, beside their baselines.",
        owner="delay-prediction",
        tags=["flights", "quality"],
    )
    judged = p.streams["flights.quality.judged"]
    outcomes = p.map(
        judged,
        mistaken,
        reads=["late", "predicted"],
        schema=MISTAKE,
        add=True,
        row_wise=True,
        to="mistakes",
        description="Predictions with what came true, and whether they were mistaken.",
        owner="delay-prediction",
        tags=["flights", "quality"],
    )
    p.drift(
        outcomes,
        watch=["score", "dep_delay"],
        error="mistake",
        # Mistakes come in bursts, on days when nothing goes as planned: of those, only what stands out is told.
        error_quiet=10**15,
        reference=REFERENCE,
        window=WINDOW,
        to="drift",
        description="Whether predictions have become worse, or other ones than in the first weeks.",
        owner="delay-prediction",
        tags=["flights", "drift"],
    )
    p.drift(
        scores,
        watch=WATCHED,
        reference=REFERENCE,
        window=WINDOW,
        to="inputs",
        description="Whether departures look as they did in the first weeks, column by column.",
        owner="delay-prediction",
        tags=["flights", "drift"],
    )


def mistaken(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Whether the prediction was wrong; null where there was none, or where nobody knows."""
    return pa.record_batch({"mistake": pc.not_equal(rows["predicted"], rows["late"])})
