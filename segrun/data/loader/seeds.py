"""Seeds that are derived from others."""

from __future__ import annotations

import numpy as np


def derive_seed(*numbers: int) -> int:
    """One seed from several numbers, well distributed (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
