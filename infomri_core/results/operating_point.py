"""The sampler, beta and acceleration that one would approve, and what linkage finds there."""

from collections.abc import Sequence

from infomri_core.results.frontier import FEDERATED, Row, utility_of
from infomri_core.sampling.registry import is_yardstick

RULE = (
    "the lowest PSNR of the strongest attack among all samplers, betas and accelerations whose "
    "utility is as good as the best one's, within its 95 % interval"
)


def operating_point(rows: Sequence[Row]) -> Row | None:
    """Of the rows with a utility within the interval of the best one's, that against which the
    strongest attack has the lowest PSNR; None where no row has both figures. It chooses sampler,
    beta and acceleration together."""
    least = least_utility(rows)
    if least is None:
        return None
    enough = [row for row in _judged(rows) if (row.utility.value or 0.0) >= least]
    return min(enough, key=lambda row: (row.psnr_worst or 0.0, -(row.utility.value or 0.0)))


def least_utility(rows: Sequence[Row]) -> float | None:
    """The lower end of the 95 % interval of the best row's utility, or the utility itself where it
    has none; None where no row has both figures."""
    judged = _judged(rows)
    if not judged:
        return None
    best = max(judged, key=lambda row: (row.utility.value or 0.0, -(row.psnr_worst or 0.0)))
    return best.utility.value if best.utility.low is None else best.utility.low


def _judged(rows: Sequence[Row]) -> list[Row]:
    return [
        row
        for row in rows
        if row.utility.value is not None and row.psnr_worst is not None
        if row.training == FEDERATED and not is_yardstick(row.sampler)
    ]


def guessing(row: Row) -> bool:
    """Whether the task cannot be told from guessing: its utility, or the lower end of its 95 %
    interval where there is one, is no better than chance, or there is none."""
    chance, found = utility_of([row]).chance, row.utility
    low = found.value if found.low is None else found.low
    return chance is not None and (low is None or low <= chance)


def linked(row: Row) -> bool:
    """Whether linkage finds more patients than guessing does: its rank-1 share, or the lower end
    of its interval where there is one, is above twice the chance."""
    share = row.linkage_low.get("same_rank1", row.linkage_same_rank1)
    if share is None or not row.linkage_gallery:
        return False
    return share > 2 / row.linkage_gallery


def linkage_sentence(row: Row) -> str:
    """What linkage finds, in plain words; that no one tried, where no one did."""
    share, candidates = row.linkage_same_rank1, row.linkage_gallery
    if share is None or not candidates:
        return "Linkage was not measured: no attack looked for a patient among candidate scans."
    found = "every patient" if share >= 0.995 else f"{share:.0%} of the patients"
    return (
        f"Linkage finds {found}: someone who holds {candidates:.0f} candidate scans picks the one "
        f"that a measurement was made of (guessing: {1 / candidates:.0%})."
    )
