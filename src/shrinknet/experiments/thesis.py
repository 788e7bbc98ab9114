"""Results from the thesis (B. Jenei, Implementing a self-scaling convolutional neural network, Szeged 2018)."""

from __future__ import annotations

import math

import pandas as pd

SUMMARIES = ("min", "max", "std", "mean", "median")
COLUMNS = tuple(name for summary in SUMMARIES for name in (f"cos:{summary}", f"|cos|:{summary}"))
ROWS = tuple(f"{quantity}({kind})" for quantity in ("loss", "best") for kind in ("prs", "knd", "spr"))

_TABLE_4_1 = """
-0.32 0.15 0.06 0.30 0.26 0.26 -0.21 0.30 -0.20 0.28
-0.20 0.08 0.13 0.19 0.20 0.16 -0.02 0.18 -0.01 0.16
-0.27 0.11 0.21 0.26 0.28 0.22 -0.04 0.24 -0.02 0.22
-0.05 0.02 0.15 0.06 0.14 0.05 0.11 0.04 0.13 0.03
-0.04 -0.01 0.09 0.05 0.08 0.04 0.09 0.03 0.09 0.02
-0.06 -0.01 0.14 0.07 0.12 0.06 0.13 0.04 0.14 0.02
"""


def table_4_1() -> pd.DataFrame:
    """Table 4.1 without its last six rows, which are the first six in descending order."""
    numbers = [[float(word) for word in line.split()] for line in _TABLE_4_1.split("\n") if line]
    return pd.DataFrame(numbers, columns=list(COLUMNS)).assign(coefficient=ROWS)[["coefficient", *COLUMNS]]


def sampling_error(coefficient: float, kind: str, count: int = 100) -> tuple[float, float]:
    """The 95 % interval that a correlation of so many points has by chance of sampling, by Fisher's transformation.

    The variance of the transformed coefficient is 1 / (n - 3) for Pearson's; 1.06 / (n - 3) and 0.437 / (n - 4) for
    Spearman's and Kendall's (E. C. Fieller, H. O. Hartley, E. S. Pearson, Biometrika 44, 1957).

    Args:
        coefficient: in (-1, 1); kind: "prs", "knd" or "spr"; count: independent points, the thesis's 100 scalars.
    """
    variance = {"prs": 1 / (count - 3), "spr": 1.06 / (count - 3), "knd": 0.437 / (count - 4)}[kind]
    centre, half = math.atanh(coefficient), 1.96 * math.sqrt(variance)
    return math.tanh(centre - half), math.tanh(centre + half)
