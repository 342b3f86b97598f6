"""How many directions features spread over (RankMe, Garrido et al., arXiv 2210.02885)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-7  # the paper's


def rankme(features: NDArray[Any]) -> float:
    """Return the effective rank of features [N, D]: 1 where all lie on a line, min(N, D) where all axes weigh alike.

    It is the exponential of the entropy of the singular values, divided by their sum (the paper's equation 1). Features
    are taken as they are, not centred, as there. It can be compared between features of one width and number only.
    """
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    shares = values / max(values.sum(), np.finfo(np.float64).tiny) + EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))
