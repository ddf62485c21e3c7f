from __future__ import annotations

import numpy as np

from streams.parents import Addresses, mode_of


def test_taking_rows_of_one_message_keeps_what_repeats() -> None:
    taken = Addresses.of_message("s", 2, 7, 5).take(np.array([0, 3, 4]))
    assert [tuple(address) for address in taken] == [("s", 2, 7, 0), ("s", 2, 7, 3), ("s", 2, 7, 4)]
    assert taken.offset.strides == (0,)
    assert mode_of(taken) == "bitmap"


def test_a_negative_index_is_no_parent() -> None:
    taken = Addresses.of_message("s", 2, 7, 5).take(np.array([4, -1]))
    assert [tuple(address) for address in taken] == [("s", 2, 7, 4), ("s", -1, -1, -1)]
    assert len(Addresses.of_message("s", 2, 7, 0).take(np.array([-1, -1]))) == 2


def test_taking_nothing_is_nothing() -> None:
    assert len(Addresses.of_message("s", 2, 7, 5).take(np.zeros(0, dtype=np.int64))) == 0
