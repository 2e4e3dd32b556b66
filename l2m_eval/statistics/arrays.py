"""Names of the array types that the packages exchange; shapes are in the docstrings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Tokens = NDArray[np.int64]  # token ids
