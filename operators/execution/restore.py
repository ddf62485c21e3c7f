"""A task's state as its last commit left it, and what happens if the operator wants another version of it."""

from __future__ import annotations

from catalog.errors import HeadwaterError
from operators.execution.progress import state_topic
from operators.execution.state import State, decode_value
from operators.operator import Operator
from streams.log.protocol import Log


class StateMismatch(HeadwaterError):
    """The stored state belongs to another state version of the operator."""


def migrate(state: State, operator: Operator, stored: str, task: str) -> None:
    """Bring stored state of another version to the operator's. StateMismatch if the operator does not know how."""
    wanted = state_version_of(operator)
    if stored == wanted or not len(state):
        return
    change = getattr(operator, "migrate", None)
    if change is None:
        raise StateMismatch(
            f"The stored state has version {stored or '(none)'}, the operator wants {wanted}",
            where=task,
            fix="Give the operator a migrate(state), or give its output a new name to start without state.",
        )
    change(state)


def state_version_of(operator: Operator) -> str:
    """The version of the form in which the operator keeps its state."""
    return str(getattr(operator, "state_version", "1"))


def restored_state(log: Log, operator: str, number: int) -> State:
    """The state as of the task's last commit."""
    topic = state_topic(operator)
    values: dict[str, bytes | None] = {}
    position = 0
    while len(fetched := log.read(topic, number, position)):
        for key, value in zip(fetched.keys, fetched.values, strict=True):
            values[(key or b"").decode()] = value
        position = fetched.next
    return State({name: decode_value(value) for name, value in values.items() if value is not None})
