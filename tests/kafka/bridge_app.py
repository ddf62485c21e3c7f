"""A Faust app of its own, beside ours: it reads a registered stream and writes what it makes of it to another.

`faust -A tests.kafka.bridge_app worker`; the environment says where log and catalog are.
"""

from __future__ import annotations

import os
from typing import Any

import faust

import headwater as hw

hub = hw.connect()
app = faust.App(
    os.environ["BRIDGE_ID"],
    broker=f"kafka://{os.environ['BRIDGE_BROKER']}",
    store="memory://",
    topic_disable_leader=True,
    web_enabled=False,
    broker_session_timeout=6.0,
    broker_heartbeat_interval=2.0,
)
readings = hw.faust_topic(app, hub, "plant.readings")
warnings = hw.faust_topic(app, hub, "plant.warnings")


@app.agent(readings)
async def warn(rows: Any) -> None:
    async for row in rows:
        if row["celsius"] > 30:
            sent = await warnings.send(value={"sensor": row["sensor"], "at": row["at"], "over": row["celsius"] - 30})
            await sent
