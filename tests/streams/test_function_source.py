from __future__ import annotations

import functools
from typing import Any

import pyarrow.compute as pc
import pytest

from operators.versions import version_of
from streams.function_source import normal_source, source_hash

LIMIT = 3


def doubled(x: int) -> int:
    """Twice."""
    return x * 2  # as it says


def renamed(x: int) -> int:
    return x * 2


def tripled(x: int) -> int:
    return x * 3


def below(x: int) -> bool:
    return doubled(x) < LIMIT


def made(factor: int) -> Any:
    return lambda x: x * factor


pair = (lambda x: x + 1, lambda x: x + 2)


class Scaled:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return x * self.factor

    def method(self, x: int) -> int:
        return x + self.factor


def test_layout_comments_docstrings_and_names_do_not_count() -> None:
    assert source_hash(doubled) == source_hash(renamed)
    assert source_hash(doubled) != source_hash(tripled)


def test_lambdas_on_one_line_are_told_apart() -> None:
    assert normal_source(pair[0]).startswith("lambda x: x + 1\n")
    assert normal_source(pair[1]).startswith("lambda x: x + 2\n")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (made(2), made(3)),
        (functools.partial(doubled, 1), functools.partial(doubled, 2)),
        (Scaled(1), Scaled(2)),
        (Scaled(1).method, Scaled(2).method),
        (pc.field("x") > 1, pc.field("x") > 2),
    ],
)
def test_what_a_function_holds_counts(one: Any, other: Any) -> None:
    assert source_hash(one) != source_hash(other)
    assert source_hash(one) == source_hash(one)


def test_equal_objects_made_twice_have_one_hash() -> None:
    assert source_hash(Scaled(1)) == source_hash(Scaled(1))
    assert source_hash(made(2)) == source_hash(made(2))


def test_globals_and_functions_of_the_module_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = source_hash(below)
    monkeypatch.setitem(below.__globals__, "LIMIT", 4)
    changed = source_hash(below)
    monkeypatch.setitem(below.__globals__, "LIMIT", 3)
    monkeypatch.setitem(below.__globals__, "doubled", tripled)
    assert len({before, changed, source_hash(below)}) == 3


def test_a_function_without_source_counts_by_its_code() -> None:
    space: dict[str, Any] = {}
    exec("def one(x): return x + 1\ndef two(x): return x * 2", space)
    assert source_hash(space["one"]) != source_hash(space["two"])


def test_a_version_holds_the_human_part_and_follows_parameters_and_functions() -> None:
    version = version_of("3", {"a": 1, "b": [2]}, doubled)
    assert version.startswith("3-")
    assert version == version_of("3", {"b": [2], "a": 1}, renamed)
    assert len({version, version_of("3", {"a": 2}, doubled), version_of("3", {"a": 1, "b": [2]}, tripled)}) == 3
