"""How well scores tell members from non-members, with the honesty that few samples demand."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, rankdata

FPRS = (0.001, 0.01)
Scores = npt.NDArray[np.floating[Any]]


@final
@dataclass(frozen=True)
class Rate:
    """A true positive rate with its exact 95 % interval (Clopper and Pearson 1934)."""

    value: float
    low: float
    high: float


def auc(members: Scores, others: Scores) -> float | None:
    """P(score of a member > of a non-member) + P(tie) / 2; None without one of either."""
    n, m = len(members), len(others)
    if not n or not m:
        return None
    ranks = rankdata(np.concatenate((members, others)))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def tpr_at(fpr: float, members: Scores, others: Scores) -> Rate | None:
    """Share of members above a threshold that at most ``fpr`` of the non-members exceed.

    The threshold is the non-members' own (floor(fpr m) + 1)-th largest score and must be
    exceeded, so ties never help. None with fewer than 1 / fpr non-members: no threshold can then
    be told from one with no false positive at all.
    """
    n, m = len(members), len(others)
    allowed = int(np.floor(fpr * m + 1e-9))
    if n == 0 or allowed < 1:
        return None
    threshold = np.sort(others)[m - 1 - allowed]
    hits = int((members > threshold).sum())
    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return Rate(hits / n, low, high)


def separation(members: Scores, others: Scores) -> dict[str, Any]:
    """AUC and TPR at 0.1 % and 1 % FPR as JSON values, and why one is not there."""
    report: dict[str, Any] = {"auc": auc(members, others)}
    for fpr in FPRS:
        key = f"tpr_at_{100 * fpr:g}_percent_fpr"
        rate = tpr_at(fpr, members, others)
        report[key] = None if rate is None else rate.value
        if rate is None:
            report[f"{key}_note"] = (
                f"undefined: needs {round(1 / fpr)} non-members, there are {len(others)}"
            )
        else:
            report[f"{key}_interval"] = [rate.low, rate.high]
    return report
