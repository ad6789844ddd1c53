"""Chance and order, where many would do the same at once."""

import random
import zlib
from collections.abc import Hashable


def spread() -> float:
    """Return a factor that keeps what began together from staying together."""
    return random.uniform(0.8, 1.2)  # noqa: S311 (nothing secret about it)


def next_turn(place: Hashable, *, now: float, least: float, every: float) -> float:
    """Return in how many seconds it is a place's turn, which comes `every` so many.

    It is the first one `least` seconds from `now` or later. What is at one place has
    its turns together, whenever it was at work last, and places have theirs at
    different moments.
    """
    phase = zlib.crc32(repr(place).encode()) / 2**32
    return least + (phase * every - now - least) % every
