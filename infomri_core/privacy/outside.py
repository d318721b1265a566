"""What epsilon does not cover, said in the same words wherever an epsilon is shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from infomri_core.plan import Plan

_ALWAYS = (
    "sampled k-space released to the study centre",
    "the choice of beta and acceleration by looking at results",
    "numbers of patients and slices (rounded), which also set the sampling rate",
    "score histograms and image quality of validation patients",
)
_LOSSES = "mean loss terms of each round"


def outside_epsilon(plan: Plan) -> list[str]:
    """What leaves or is decided in a study of ``plan`` and stands outside epsilon."""
    losses = plan.privacy is None or plan.privacy.losses
    return [*_ALWAYS, *([_LOSSES] if losses else [])]


def epsilon_sentence(privacy: Mapping[str, Any] | None) -> str:
    """One sentence for a reader of ``results.json``, of its ``meta["privacy"]``: what epsilon is,
    and what it does not cover; '' for a study without differential privacy."""
    if not privacy:
        return ""
    epsilon = privacy.get("epsilon")
    size = "not known" if epsilon is None else f"{float(epsilon):.2f}"
    what = "weights and moments" if privacy.get("moments") else "weights"
    return (
        f"Epsilon {size} at delta {float(privacy['delta']):g}, the largest of any site, bounds "
        f"what the {what} of all rounds reveal about one training {privacy['unit']}. It does not "
        f"cover {joined(privacy.get('outside') or _ALWAYS)}."
    )


def joined(parts: Sequence[str]) -> str:
    """A list in a sentence: semicolons, because its parts have commas."""
    return "; ".join(parts)
