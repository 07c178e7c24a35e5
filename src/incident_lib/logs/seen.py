"""A set of 64-bit numbers, 12 to 24 bytes for each; Python's own takes 70 and more."""

from __future__ import annotations

from array import array

_LEAST = 1 << 10


class Seen:
    """Numbers that were added; a hash table with open addressing, at most two thirds full."""

    def __init__(self) -> None:
        self._table, self._count = array("Q", bytes(8 * _LEAST)), 0

    def __len__(self) -> int:
        return self._count

    def add(self, number: int) -> bool:
        """Add a number, of which 64 bits count; returns whether it is new."""
        number &= 0xFFFFFFFFFFFFFFFF
        place = self._place(number or 1)  # 0 is an empty place
        if self._table[place]:
            return False
        self._table[place], self._count = number or 1, self._count + 1
        if 3 * self._count > 2 * len(self._table):
            self._grow()
        return True

    def _place(self, number: int) -> int:
        """Where a number is, or is to be put."""
        table, last = self._table, len(self._table) - 1
        place = number & last
        while table[place] and table[place] != number:
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        old, self._table = self._table, array("Q", bytes(16 * len(self._table)))
        for number in filter(None, old):
            self._table[self._place(number)] = number
