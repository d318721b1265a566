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


def weights_sentences(meta: Mapping[str, Any]) -> list[str]:
    """Whether masks hid each site's weights in this study, and whether noise bounds what they
    reveal, for a reader of ``results.json``, of its ``meta``. Nothing of what it does not tell."""
    said = []
    rounds = [r for r in meta.get("rounds") or [] if "masked" in r]
    if rounds and all(r["masked"] for r in rounds):
        least = min(len(r["sites"]) for r in rounds)
        said.append(
            "Secure aggregation was used: in each round the study server saw the sum of the "
            f"updates of {least} or more sites, and no single site's."
        )
    elif rounds:
        said.append(
            "Secure aggregation was not used: the study server saw the weights of each site "
            "after every round."
        )
    if meta.get("privacy"):
        said.append(f"Differential privacy was used. {epsilon_sentence(meta['privacy'])}")
    elif "privacy" in meta:
        said.append(
            "Differential privacy was not used: nothing bounds what the weights reveal of a "
            "training patient."
        )
    return said


def joined(parts: Sequence[str]) -> str:
    """A list in a sentence: semicolons, because its parts have commas."""
    return "; ".join(parts)
