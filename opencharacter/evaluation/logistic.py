"""Logistic regression of shares by Newton's method: for problems of a few columns that are solved hundreds of times."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_STEPS = 50


def fit_logistic(
    design: "np.ndarray", shares: "np.ndarray", weights: "np.ndarray", *, ridge: float = 1e-6
) -> "np.ndarray":
    """The coefficients. `ridge` keeps them finite where an outcome never fails.

    Args:
        design: One row for each observation.
        shares: The outcome of each, from 0 to 1.
        weights: How much each counts.
        ridge: Factor of half the squared coefficients in the loss.
    """
    import numpy as np

    beta = np.zeros(design.shape[1])
    penalty = ridge * np.eye(len(beta))
    for _ in range(_STEPS):
        fitted = logistic(design @ beta)
        gradient = design.T @ (weights * (shares - fitted)) - ridge * beta
        curvature = (design * (weights * fitted * (1 - fitted))[:, None]).T @ design + penalty
        # A step of more than a few log odds leaves the region in which the curvature holds.
        step = np.clip(np.linalg.solve(curvature, gradient), -2, 2)
        beta = beta + step
        if float(np.abs(step).max()) < 1e-10:
            break
    return beta


def logistic(log_odds: "np.ndarray") -> "np.ndarray":
    """The chance of log odds."""
    import numpy as np

    chance: np.ndarray = 1 / (1 + np.exp(-log_odds))
    return chance
