"""Chance, where many would do the same at once."""

import random


def spread() -> float:
    """Return a factor that keeps what began together from staying together."""
    return random.uniform(0.8, 1.2)  # noqa: S311 (nothing secret about it)
