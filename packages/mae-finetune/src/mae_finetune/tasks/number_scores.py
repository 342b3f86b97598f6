"""Scores of numbers: mean absolute error, root mean square error, R2; each beside what the mean alone would give."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def number_table(said: Numbers, true: Numbers, mean: Numbers, std: Numbers) -> dict[str, Numbers]:
    """Return what is found of each number, [T].

    Args:
        said, true: [N, T], N at least 1.
        mean, std: [T], of the training targets.

    Returns:
        mae, rmse, r2 (1 - squared errors over those of the mean of `true`; of constants 1 where all are met, else
        0); mae_of_mean and rmse_of_mean, of saying the training mean of every image; val_loss, the smooth L1 loss of
        standardised numbers.
    """
    errors, spread = said - true, ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    squares = (errors**2).sum(axis=0)
    r2 = np.where(squares == 0, 1.0, 0.0)
    np.divide(spread - squares, spread, out=r2, where=spread > 0)
    far = np.abs(errors / std)
    return {
        "mae": np.abs(errors).mean(axis=0),
        "rmse": np.sqrt((errors**2).mean(axis=0)),
        "r2": r2,
        "mae_of_mean": np.abs(mean - true).mean(axis=0),
        "rmse_of_mean": np.sqrt(((mean - true) ** 2).mean(axis=0)),
        "val_loss": np.where(far < 1, far**2 / 2, far - 0.5).mean(axis=0),
    }
