"""Labelling functions: what votes on a whole batch, what it may answer, and how its answer becomes votes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.errors import HeadwaterError
from operators.errors import WrongOutput
from operators.function import kind_of
from operators.label.pattern import ABSTAIN, Digits, Votes

#: A class as people write it.
Class = str | int | bool
Function = Callable[..., Any]
#: Makes a function that fits a schema, for what is written as text: its reads and what it does.
Fit = Callable[[pa.Schema, str], tuple[tuple[str, ...], Function]]


class LabelError(HeadwaterError):
    """A labelling that cannot be made as it was declared."""

    exit_code = 2


class SlowFunction(UserWarning):
    """A labelling function that is called row by row."""


@dataclass(frozen=True)
class LabelingFunction:
    """A function that votes, or abstains, for each row of a batch. Made by `labeling_function`, `rule`, `keyword`,
    `regex` and `lookup_label`; called itself, it is the plain function that it was made of.

    `label` and `otherwise` are what true and false of a mask vote for; `classes` what integers index. `table` is the
    stream of a table whose rows `fn` is given as its second argument.
    """

    name: str
    fn: Function
    reads: tuple[str, ...] = ()
    label: Class | None = None
    otherwise: Class | None = None
    classes: tuple[Class, ...] | None = None
    row_wise: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    fit: Fit | None = None
    table: Any = None
    table_reads: tuple[str, ...] = ()

    def __call__(self, *rows: Any) -> Any:
        return self.fn(*rows)

    def __repr__(self) -> str:
        return f"labeling_function({self.name!r}, reads={list(self.reads)})"

    @property
    def named(self) -> tuple[Class, ...] | None:
        """The classes that its declaration names; None if it may vote for any."""
        if self.label is not None:
            return (self.label,) if self.otherwise is None else (self.label, self.otherwise)
        return self.classes

    def fitted(self, schema: pa.Schema, where: str) -> LabelingFunction:
        """The function as it is for rows of a schema. ConditionError if it does not fit."""
        if self.fit is None:
            return self
        reads, fn = self.fit(schema, where)
        return replace(self, reads=reads, fn=fn, fit=None)

    def described(self) -> dict[str, Any]:
        """What a version is made from, beside the function itself."""
        return {
            "name": self.name,
            "reads": list(self.reads),
            "label": self.label,
            "otherwise": self.otherwise,
            "classes": None if self.classes is None else list(self.classes),
            "row_wise": self.row_wise,
            **self.params,
        }


@overload
def labeling_function(fn: Function, /) -> LabelingFunction: ...
@overload
def labeling_function(
    *,
    reads: Sequence[str],
    name: str | None = ...,
    label: Class | None = ...,
    otherwise: Class | None = ...,
    classes: Sequence[Class] | None = ...,
    row_wise: bool = ...,
) -> Callable[[Function], LabelingFunction]: ...
def labeling_function(
    fn: Function | None = None,
    /,
    *,
    reads: Sequence[str] = (),
    name: str | None = None,
    label: Class | None = None,
    otherwise: Class | None = None,
    classes: Sequence[Class] | None = None,
    row_wise: bool = False,
) -> LabelingFunction | Callable[[Function], LabelingFunction]:
    """Make a function a labelling function: a decorator.

    It is given a `pa.RecordBatch` with the columns `reads` and answers for every row, as an Arrow or NumPy array:

    - with `label`: truth values; true votes for the class `label`, false for `otherwise` (none: it abstains),
    - otherwise integers, which index `classes` (by default those of the labelling), or the classes themselves.

    Null and -1 abstain. With `row_wise` it is given one row at a time, as a dict, and answers with a class, an index or
    None; that is some hundred times slower, and `SlowFunction` warns of it. LabelError for what makes no sense.
    """

    def made(function: Function) -> LabelingFunction:
        own = name or getattr(function, "__name__", "")
        if not own or own == "<lambda>":
            raise LabelError(
                "A labelling function has no name", where=repr(function), fix="Give it one: name='too_hot'."
            )
        if not reads:
            raise LabelError(
                "A labelling function says what it reads", where=own, fix="Name the columns: reads=['celsius']."
            )
        if otherwise is not None and label is None:
            raise LabelError("otherwise= needs label=", where=own, fix="Say what true votes for: label=….")
        if label is not None and classes is not None:
            raise LabelError("label= and classes= are two ways to answer", where=own, fix="Give one of them.")
        if row_wise:
            warnings.warn(
                f"The labelling function {own} is called row by row, some hundred times slower than one that "
                "answers for a whole batch with pyarrow.compute or NumPy.",
                SlowFunction,
                stacklevel=3 if fn is None else 2,
            )
        listed = None if classes is None else tuple(classes)
        return LabelingFunction(own, function, tuple(reads), label, otherwise, listed, row_wise)

    return made if fn is None else made(fn)


class Ballot:
    """How the answers of one function become votes for `classes`, by their number."""

    def __init__(self, function: LabelingFunction, classes: Sequence[Class]) -> None:
        self.function = function
        self._classes = tuple(classes)
        named = function.named
        self._named = self._classes if named is None else named
        numbers = tuple(_number(self._classes, one) for one in self._named)
        #: The classes that the function may vote for, by number, ascending.
        self.voices = tuple(sorted(set(numbers)))
        self._numbers = np.array(numbers, dtype=np.int8)
        self._digits = np.array([0, *(self.voices.index(number) + 1 for number in numbers)], dtype=np.uint8)
        self._values = pa.array(self._named)

    def digits(self, answer: Any, rows: int, where: str) -> Digits:
        """The digit of each row: 0 where the function abstains, else one more than the place of its vote in `voices`.
        WrongOutput for anything else than one vote a row."""
        given = answer
        if isinstance(answer, pa.ChunkedArray):
            answer = answer.combine_chunks()
        if isinstance(answer, list | np.ndarray):
            try:
                answer = pa.array(answer)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise self._wrong(f"gave values that are no votes: {error}", where) from error
        if not isinstance(answer, pa.Array) or len(answer) != rows:
            raise self._wrong(f"gave {kind_of(given)}, expected are {rows} votes", where)
        kind = answer.type
        if pa.types.is_null(kind):
            return np.zeros(rows, dtype=np.uint8)
        if pa.types.is_boolean(kind) and self.function.label is not None:
            return self._of_mask(answer)
        if self.function.label is not None:
            raise self._wrong(f"gave {kind}, expected are truth values, as it has a label", where)
        if pa.types.is_integer(kind):
            return self._of_indices(answer, where)
        return self._of_values(answer, where)

    def digits_by_row(self, answers: list[Any], where: str) -> Digits:
        """The same for the answers of a function that is called row by row."""
        if self.function.label is not None:
            return self.digits([None if one is None else bool(one) for one in answers], len(answers), where)
        whole = all(one is None or (isinstance(one, int) and not isinstance(one, bool)) for one in answers)
        return self.digits(pa.array(answers, pa.int64() if whole else None), len(answers), where)

    def _of_mask(self, answer: Any) -> Digits:
        yes, no = int(self._digits[1]), 0 if self.function.otherwise is None else int(self._digits[2])
        digits = _bits(answer.buffers()[1], answer)
        if (yes, no) != (1, 0):
            # Arithmetic on bytes, modulo 256, is several times faster than a choice.
            digits = digits * np.uint8((yes - no) % 256)
            digits += np.uint8(no)
        if answer.null_count:
            digits = digits * _bits(answer.buffers()[0], answer)
        return digits

    def _of_indices(self, answer: Any, where: str) -> Digits:
        if answer.null_count:
            answer = pc.fill_null(answer, ABSTAIN)
        indices = answer.to_numpy()
        if len(indices) and not (indices.min() >= ABSTAIN and indices.max() < len(self._named)):
            wrong = int(indices[(indices < ABSTAIN) | (indices >= len(self._named))][0])
            raise self._wrong(f"voted {wrong}, and there are {len(self._named)} classes", where)
        return _translated(self._digits, (indices + 1).astype(np.uint8))

    def _of_values(self, answer: Any, where: str) -> Digits:
        if pa.types.is_dictionary(answer.type):
            answer = answer.dictionary_decode()
        try:
            places = pc.index_in(answer, value_set=self._values.cast(answer.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise self._wrong(f"gave {answer.type}, which is no class", where) from error
        unknown = answer.filter(pc.and_(places.is_null(), answer.is_valid()))
        if len(unknown):
            raise self._wrong(f"voted for {unknown[0].as_py()!r}, which is none of its classes", where)
        return _translated(self._digits, (pc.fill_null(places, ABSTAIN).to_numpy() + 1).astype(np.uint8))

    def _wrong(self, what: str, where: str) -> WrongOutput:
        return WrongOutput(
            f"The labelling function {self.function.name} {what}",
            where=where,
            fix=f"Return one vote a row: {_expected(self.function, self._named)}; null or -1 abstains.",
        )


def votes_of(ballot: Ballot, digits: Digits) -> Votes:
    """The votes by the number of the class, -1 where the function abstains."""
    if len(ballot.voices) == 1:
        return (digits * np.uint8(ballot.voices[0] + 1) - np.uint8(1)).view(np.int8)
    table = np.array([ABSTAIN, *ballot.voices], dtype=np.int8).view(np.uint8)
    return _translated(table, digits).view(np.int8)


def _translated(table: Digits, places: Digits) -> Digits:
    """What stands at these places of a table of bytes."""
    if len(table) > 1 and bool((np.diff(table) == 1).all()):
        return places + table[0]
    return np.frombuffer(places.tobytes().translate(table.tobytes().ljust(256)), dtype=np.uint8)


def _bits(buffer: Any, answer: Any) -> Digits:
    """A bitmap of an Arrow array as bytes of 0 and 1; unpacked by NumPy, several times faster than an Arrow cast."""
    first = answer.offset
    packed = np.frombuffer(buffer, dtype=np.uint8)[first // 8 :]
    return np.unpackbits(packed, count=first % 8 + len(answer), bitorder="little")[first % 8 :]


def _number(classes: tuple[Class, ...], one: Class) -> int:
    for number, known in enumerate(classes):
        if known == one and isinstance(known, bool) == isinstance(one, bool):
            return number
    raise LabelError(
        f"{one!r} is none of the classes",
        where=f"classes {list(classes)}",
        fix="Vote for classes of the labelling only, or add it to classes=.",
    )


def _expected(function: LabelingFunction, named: Sequence[Class]) -> str:
    return "a truth value" if function.label is not None else f"an index into {list(named)}, or one of them"
