"""Intervals of a mean over slices whose patients, and not the slices, are independent."""

import numpy as np
from scipy.stats import t as student


def half_width(values: np.ndarray, patients: np.ndarray) -> float:
    """Half of the 95 % interval of the mean of ``values`` (n,), patients as clusters (n,):
    linearised cluster variance, t quantile. NaN for a single patient."""
    _, owner = np.unique(patients, return_inverse=True)
    n_patients = int(owner.max()) + 1
    if n_patients < 2:
        return float("nan")
    totals = np.bincount(owner, values - values.mean()) / len(values)
    variance = (totals**2).sum() * n_patients / (n_patients - 1)
    return float(student.ppf(0.975, n_patients - 1) * np.sqrt(variance))
