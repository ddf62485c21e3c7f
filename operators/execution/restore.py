"""A task's state as it was stored, and whether it fits the operator that is to go on with it."""

from __future__ import annotations

from catalog.errors import HeadwaterError
from operators.execution.progress import Progress, state_topic
from operators.execution.state import State, decode_value
from operators.operator import Operator
from streams.log.protocol import Log


class StateMismatch(HeadwaterError):
    """The stored state belongs to another state version of the operator."""

    exit_code = 8


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
    where = f"{topic} {number}"
    return State({name: decode_value(value, where) for name, value in values.items() if value is not None})


def migrate_state(operator: Operator, state: State, last: Progress | None, task: str) -> None:
    """Bring the state to the operator's version, if it has another; StateMismatch if the operator cannot."""
    wanted = state_version_of(operator)
    if last is None or last.state_version == wanted or not len(state):
        return
    migrate = getattr(operator, "migrate", None)
    if migrate is None:
        raise StateMismatch(
            f"The stored state has version {last.state_version or '(none)'}, the operator wants {wanted}",
            where=task,
            fix="The state is as it was: give the operator a migrate(state), go back to the version that wrote it, "
            "or give its output a new name to start without state.",
        )
    try:
        migrate(state)
    except Exception as error:
        raise StateMismatch(
            f"migrate(state) raised {type(error).__name__}: {error}",
            where=task,
            fix="Mend it and run again; the stored state is as it was.",
        ) from error
