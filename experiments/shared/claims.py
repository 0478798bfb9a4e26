"""What a source reports beside what was measured."""

from typing import NamedTuple

import numpy as np


class Claim(NamedTuple):
    """A claim in numbers. `holds` is None where the question is open."""

    text: str
    source: str
    expected: str
    value: float
    low: float = np.nan
    high: float = np.nan
    count: int | None = None
    unit: str = ""
    holds: bool | None = None
    headline: bool = False
