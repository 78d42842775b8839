"""Wilson's score interval of a rate: one formula for live figures and for tests. PURE."""

from typing import Any

import numpy as np


def wilson_limits(successes: Any, n: Any, z: float) -> tuple[Any, Any]:
    """Limits at ± `z` (JASA 22 (1927) 209-212); numbers or arrays, `n` above 0."""
    rate, spread = successes / n, z * z / n
    middle = (rate + spread / 2) / (1 + spread)
    reach = np.sqrt(rate * (1 - rate) * spread + spread * spread / 4) / (1 + spread)
    # Rounding must not leave 0 and 1 out where nothing, or everything, succeeded.
    return np.where(successes == 0, 0.0, middle - reach), np.where(
        successes == n, 1.0, middle + reach
    )
