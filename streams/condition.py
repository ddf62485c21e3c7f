"""Conditions on rows as people write them (`origin = 'EWR' and dep_delay > 15`), read by a parser of our own.

Nothing is evaluated but columns, values, comparisons and arithmetic; the result is an Arrow expression.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from catalog.errors import HeadwaterError
from streams.expression import computed

DEEPEST: Final = 50
_LARGEST: Final = 2**63 - 1


class ConditionError(HeadwaterError):
    """A condition that cannot be read, or that the rows give no meaning to."""

    exit_code = 2


@dataclass(frozen=True)
class Condition:
    """A condition that fits a schema. `fields` are the columns that it looks at."""

    text: str
    fields: tuple[str, ...]
    expression: Any

    def holds(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        """True for each row for which the condition is true; a comparison with null is not. ConditionError if it cannot
        be computed (a division by zero)."""
        try:
            truth = computed(self.expression, rows).combine_chunks()
        except pa.ArrowInvalid as error:
            raise ConditionError(
                f"The condition cannot be computed: {error}", where=self.text, fix="Leave such rows out first."
            ) from error
        return pc.fill_null(truth, False)


def parse_condition(text: str, schema: pa.Schema, *, where: str = "") -> Condition:
    """The condition in `text` for rows of `schema`; ConditionError, with the place, for what cannot be read.

    Columns are names, `nested.fields` or "any text"; values are 12, 1.5, 'text' (times as '2013-06-01' or
    '2013-06-01T12:00:00Z', UTC if they name no zone), true and false. There are `= != < <= > >=`, `and or not`,
    `is [not] null`, `[not] in (…)`, `[not] between … and …`, `[not] like 'N%'`, `+ - * /` and parentheses.
    """
    return _Parser(text, schema, where).condition()


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Term(NamedTuple):
    """A part of a condition: an expression and its type, or a value whose type is still open."""

    expression: Any
    type: pa.DataType | None
    value: Any = None

    @property
    def is_value(self) -> bool:
        return self.type is None


_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|'(?P<text>(?:[^']|'')*)'|\"(?P<quoted>(?:[^\"]|\"\")+)\""
    r"|(?P<word>[^\W\d]\w*(?:\.[^\W\d]\w*)*)|(?P<sign><=|>=|<>|!=|==|[=<>+\-*/(),]))"
)
_WORDS: Final = {"and", "or", "not", "is", "null", "in", "between", "like", "true", "false"}
_COMPARE: Final = {
    "=": pc.equal,
    "==": pc.equal,
    "!=": pc.not_equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_COMPUTE: Final = {"+": pc.add_checked, "-": pc.subtract_checked, "*": pc.multiply_checked, "/": pc.divide_checked}


class _Parser:
    """Recursive descent: or, and, not, comparison, sum, product, one value."""

    def __init__(self, text: str, schema: pa.Schema, where: str) -> None:
        self._text = text
        self._schema = schema
        self._where = where
        self._fields: dict[str, None] = {}
        self._tokens = self._split()
        self._at = 0
        self._depth = 0

    def condition(self) -> Condition:
        if self._tokens[0].kind == "end":
            raise self._wrong("The condition is empty", "Write one, such as \"origin = 'EWR'\".")
        found = self._truth(self._either())
        if self._next.kind != "end":
            raise self._unexpected("and, or, or the end")
        return Condition(self._text, tuple(self._fields), found.expression)

    def _split(self) -> list[_Token]:
        tokens = []
        at = 0
        end = len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if found is None:
                place = at + len(self._text[at:]) - len(self._text[at:].lstrip())
                raise self._wrong(f"{self._text[place]!r} cannot be read", "Write text in 'single quotes'.", place)
            kind = str(found.lastgroup)
            text = found[kind]
            if kind == "word" and text.lower() in _WORDS:
                kind, text = "keyword", text.lower()
            tokens.append(_Token(kind, text, found.start(found.lastgroup or 0)))
            at = found.end()
        return [*tokens, _Token("end", "the end", end)]

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _takes(self, *words: str) -> str | None:
        token = self._next
        if token.kind in ("keyword", "sign") and token.text in words:
            self._at += 1
            return token.text
        return None

    def _needs(self, word: str) -> None:
        if self._takes(word) is None:
            raise self._unexpected(repr(word))

    def _either(self) -> _Term:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._wrong(f"The condition is nested deeper than {DEEPEST} levels", "Take parentheses away.")
        left = self._both()
        while self._takes("or"):
            right = self._both()
            left = self._made(self._truth(left).expression | self._truth(right).expression)
        self._depth -= 1
        return left

    def _both(self) -> _Term:
        left = self._negated()
        while self._takes("and"):
            right = self._negated()
            left = self._made(self._truth(left).expression & self._truth(right).expression)
        return left

    def _negated(self) -> _Term:
        count = 0
        while self._takes("not"):
            count += 1
        term = self._comparison()
        return self._made(~self._truth(term).expression) if count % 2 else term

    def _comparison(self) -> _Term:
        left = self._sum()
        sign = self._takes(*_COMPARE)
        if sign is not None:
            return self._compared(sign, left, self._sum())
        if self._takes("is"):
            wanted = self._takes("not") is None
            self._needs("null")
            missing = self._of(left).expression.is_null()
            return self._made(missing if wanted else ~missing)
        negated = self._takes("not") is not None
        if self._takes("in"):
            found = self._contained(left)
        elif self._takes("between"):
            low = self._sum()
            self._needs("and")
            above = self._compared(">=", left, low).expression
            found = above & self._compared("<=", left, self._sum()).expression
        elif self._takes("like"):
            pattern = self._next
            if pattern.kind != "text":
                raise self._unexpected("a pattern in quotes")
            self._at += 1
            found = pc.match_like(self._of(left).expression, pattern.text.replace("''", "'"))
        elif negated:
            raise self._unexpected("in, between or like")
        else:
            return left
        return self._made(~found if negated else found)

    def _compared(self, sign: str, left: _Term, right: _Term) -> _Term:
        if left.is_value and not right.is_value:
            left = self._fitted(left, right.type)
        elif right.is_value and not left.is_value:
            right = self._fitted(right, left.type)
        return self._made(_COMPARE[sign](self._of(left).expression, self._of(right).expression))

    def _contained(self, left: _Term) -> Any:
        self._needs("(")
        column = self._of(left)
        values = []
        while True:
            value = self._sum()
            if not value.is_value:
                raise self._wrong("in (…) takes values, not columns", "Compare columns with = and or.")
            values.append(self._fitted(value, column.type))
            if self._takes(")"):
                break
            self._needs(",")
        found = column.expression == values[0].expression
        # One comparison a value, as those know more pairs of types than a set of one type does.
        for value in values[1:]:
            found = found | (column.expression == value.expression)
        return found

    def _sum(self) -> _Term:
        left = self._product()
        while sign := self._takes("+", "-"):
            left = self._computed(sign, left, self._product())
        return left

    def _product(self) -> _Term:
        left = self._one()
        while sign := self._takes("*", "/"):
            left = self._computed(sign, left, self._one())
        return left

    def _computed(self, sign: str, left: _Term, right: _Term) -> _Term:
        return self._made(_COMPUTE[sign](self._of(left).expression, self._of(right).expression))

    def _one(self) -> _Term:
        token = self._next
        self._at += 1
        if token.kind == "number":
            number = int(token.text) if token.text.isdigit() else float(token.text)
            if not abs(number) <= _LARGEST:
                raise self._wrong("The number is too large", "Use one below 2 ** 63.", token.at)
            return _Term(None, None, number)
        if token.kind == "text":
            return _Term(None, None, token.text.replace("''", "'"))
        if token.kind == "quoted":
            return self._column(token, [token.text.replace('""', '"')])
        if token.kind == "word":
            return self._column(token, token.text.split("."))
        if token.text in ("true", "false"):
            return _Term(None, None, token.text == "true")
        if token.text == "(":
            found = self._either()
            self._needs(")")
            return found
        if token.text == "-":
            if self._next.text == "-":
                raise self._unexpected("a column or a value")
            value = self._one()
            if value.is_value and isinstance(value.value, int | float):
                return _Term(None, None, -value.value)
            return self._made(pc.negate_checked(self._of(value).expression))
        self._at -= 1
        if token.text == "null":
            raise self._wrong("Nothing equals null", "Write: is null, or: is not null.")
        raise self._unexpected("a column or a value")

    def _column(self, token: _Token, path: list[str]) -> _Term:
        kind: Any = self._schema
        for depth, name in enumerate(path):
            names = [field.name for field in kind] if depth == 0 or pa.types.is_struct(kind) else []
            if name not in names:
                known = f"There are {', '.join(names)}." if names else f"{'.'.join(path[:depth])!r} has no fields."
                raise self._wrong(
                    f"There is no column {'.'.join(path[: depth + 1])!r}",
                    f"{known} Text stands in 'single quotes'.",
                    token.at,
                )
            kind = kind.field(name).type
        self._fields[path[0]] = None
        return _Term(pc.field(*path), kind)

    def _of(self, term: _Term) -> _Term:
        return _Term(pc.scalar(term.value), pa.scalar(term.value).type) if term.is_value else term

    def _fitted(self, term: _Term, kind: pa.DataType | None) -> _Term:
        """A value as the type of the column that it is compared with."""
        value = term.value
        assert kind is not None
        texts = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        try:
            if isinstance(value, str) and pa.types.is_temporal(kind):
                return _Term(pc.scalar(_instant(value, kind)), kind)
            if pa.types.is_decimal(kind) and not isinstance(value, bool):
                return _Term(pc.scalar(pa.scalar(Decimal(str(value)))), kind)
            fits = isinstance(value, str) == texts and isinstance(value, bool) == pa.types.is_boolean(kind)
        except (ValueError, ArithmeticError, pa.ArrowInvalid) as error:
            raise self._wrong(
                f"{value!r} is no {kind}: {error}", "Times are written as '2013-06-01T12:00:00Z'."
            ) from error
        if not fits:
            raise self._wrong(f"A column of type {kind} is compared with {value!r}", "Compare like with like.")
        return self._of(term)

    def _truth(self, term: _Term) -> _Term:
        term = self._of(term)
        if not pa.types.is_boolean(term.type):
            raise self._wrong(f"A {term.type} stands where a comparison should", "Compare it with something.")
        return term

    def _made(self, expression: Any) -> _Term:
        """An expression with its type, which Arrow knows."""
        try:
            return _Term(expression, computed(expression, self._schema.empty_table()).type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            reason = str(error).splitlines()[0]
            raise self._wrong(
                f"This cannot be computed: {reason}", "Compare columns with values of their type."
            ) from error

    def _unexpected(self, wanted: str) -> ConditionError:
        token = self._next
        found = "the condition ends" if token.kind == "end" else f"{token.text!r} stands there"
        return self._wrong(f"Expected is {wanted}, but {found}", "Look at the place marked.")

    def _wrong(self, what: str, fix: str, at: int | None = None) -> ConditionError:
        place = (
            at if at is not None else self._tokens[min(self._at, len(self._tokens) - 1)].at if self._has_tokens else 0
        )
        marked = f"{self._text[:place]}>>>{self._text[place:]}"
        return ConditionError(what, where=f"{self._where}: {marked}" if self._where else marked, fix=fix)

    @property
    def _has_tokens(self) -> bool:
        return bool(getattr(self, "_tokens", None))


def _instant(text: str, kind: pa.DataType) -> pa.Scalar:
    if not pa.types.is_timestamp(kind):
        return pc.cast(pa.scalar(text), kind)
    moment = dt.datetime.fromisoformat(text)
    return pa.scalar(moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC), kind)
