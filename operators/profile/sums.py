"""Exact sums of doubles and of their squares, as whole numbers of a fixed unit: in any order they come to the same.

Sums that are rounded as they grow depend on how rows were cut into batches; these do not, and so can be merged.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

#: A double is a multiple of 2^-1074; an exact sum of doubles is a whole number of these.
UNIT: Final = 1074
#: A square is a multiple of 2^-2148.
SQUARE_UNIT: Final = 2 * UNIT

_PIECE: Final = 16_384
_SPLITTER: Final = 2.0**27 + 1
#: Squares of numbers from 2^-400 to 2^500 and their rounding errors are doubles; others are scaled first.
_SMALL, _LARGE, _HUGE, _SCALE = 2.0**-400, 2.0**500, 2.0**900, 600


def exact_sum(values: Doubles) -> int:
    """The sum of finite values, in units of 2^-1074."""
    return sum(_summed(values[start : start + _PIECE].copy()) for start in range(0, len(values), _PIECE))


def exact_sum_of_squares(values: Doubles) -> int:
    """The sum of the squares of finite values, in units of 2^-2148."""
    total = 0
    for start in range(0, len(values), _PIECE):
        piece = np.abs(values[start : start + _PIECE])
        largest = piece.max()
        if largest < _LARGE and piece.min() >= _SMALL:
            total += _squared(piece, 0)
            continue
        tiny, large = piece < _SMALL, piece >= _LARGE
        total += _squared(piece[~tiny & ~large], 0)
        total += _squared(piece[tiny & (piece > 0)] * 2.0**_SCALE, -2 * _SCALE)
        total += _squared(piece[large] * 2.0**-_SCALE, 2 * _SCALE)
    return total


def rounded(total: int, unit: int, count: int = 1) -> float:
    """total / (count 2^unit), rounded once; infinite if it is too large for a double."""
    try:
        return float(Fraction(total, count << unit))
    except OverflowError:
        return float("inf") if total > 0 else float("-inf")


def _squared(values: Doubles, exponent: int) -> int:
    """The sum of squares times 2^exponent. Each square is a double and its rounding error, another (Dekker 1971)."""
    if not len(values):
        return 0
    squares = values * values
    high = values * _SPLITTER
    high -= high - values
    low = values - high
    errors = high * high
    errors -= squares
    high *= 2.0
    high *= low
    errors += high
    low *= low
    errors += low
    total = _summed(squares) + _summed(errors)
    shift = SQUARE_UNIT - UNIT + exponent
    return total << shift if shift >= 0 else total >> -shift


def _summed(values: Doubles) -> int:
    """Changes `values`. The leading bits of all values are cut off at one place, added without rounding, and so on
    with what is left (Rump, Ogita, Oishi 2008)."""
    total = 0
    while True:
        largest = max(values.max(initial=0.0), -values.min(initial=0.0))
        if not largest:
            return total
        if largest >= _HUGE:
            huge = np.abs(values) >= _HUGE
            total += _summed(values[huge] * 2.0**-_SCALE) << _SCALE
            values = values[~huge]
            continue
        cut = 2.0 ** (int(np.frexp(largest)[1]) + len(values).bit_length())
        leading = values + cut
        leading -= cut
        values -= leading
        total += _whole(float(leading.sum()))


def _whole(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator * ((1 << UNIT) // denominator)
