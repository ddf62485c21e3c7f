"""Runs a pipeline in many small transactions, so that there is a middle, and snapshots before it."""

from __future__ import annotations

from dataclasses import replace

import headwater as hw
from operators.execution.progress import Progress, decode_all, progress_topic
from operators.execution.source_task import SourceTask
from operators.execution.task import Task


def run_finely(hub: hw.Hub, pipeline: hw.Pipeline, *, snapshot_every: int = 3) -> None:
    """Run it to its end, every task in its turn with one short transaction."""
    hub.register(pipeline)
    plan = hub.plan(pipeline)
    context = replace(hub.context(plan), snapshot_every=snapshot_every)
    tasks: list[Task | SourceTask] = []
    for node in plan.nodes.values():
        for number in range(node.tasks):
            tasks.append(SourceTask(node, context) if node.source else Task(node, number, plan, context))
    for task in tasks:
        task.start()
    while sum(task.work(seconds=1e-4) for task in tasks):
        pass
    assert all(task.ended for task in tasks)
    for task in tasks:
        task.close()
    hub.sync()


def transactions(hub: hw.Hub, operator: str) -> list[Progress]:
    """The progress rows of all tasks of an operator, by their time."""
    topic = progress_topic(operator)
    found: list[Progress] = []
    for number, (_, end) in enumerate(hub.log.bounds(topic)):
        position = 0
        while position < end:
            fetched = hub.log.read(topic, number, position)
            found += decode_all(fetched, topic)
            position = fetched.next
    return sorted(found, key=lambda one: one.at)
