"""What epsilon does not cover, said in the same words wherever an epsilon is shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from infomri_core.plan.plan import Plan

_ALWAYS = (
    "sampled k-space released to the study centre",
    "the choice of beta and acceleration by looking at results",
    "numbers of patients and slices (rounded)",
    "what scores say of validation patients",
)
_LOSSES = "mean loss terms of each round"


def outside_epsilon(plan: Plan) -> list[str]:
    """What leaves or is decided in a study of ``plan`` and stands outside epsilon."""
    losses = plan.privacy is None or plan.privacy.losses
    return [*_ALWAYS, *([_LOSSES] if losses else [])]


EXACT_SCORES = (
    "Scores leave without noise, as exact sums over groups of patients: who chooses the "
    "weights can write into a score which slice it is and what it shows, and have the images of "
    "most scored patients (python -m benchmarks.chosen_weights: of 93 % of 60 patients, at a "
    "correlation of 0.96 with the truth)."
)
"""What a study that switches the noise of evaluation off lets a hostile study centre do."""


def scores_sentence(rules: Mapping[str, Any] | None) -> str:
    """What bounds that which scores say of one patient, of ``meta["evaluation_noise"]``: epsilon
    and delta, or None where the study has switched the noise off."""
    if not rules:
        return EXACT_SCORES
    said = (
        "Scores leave each site once and under noise: all that they say of one scored patient has "
        f"epsilon {float(rules['epsilon']):g} at delta {float(rules['delta']):g}."
    )
    clipped = float(rules.get("clipped") or 0)
    if clipped > 0:
        said += (
            f" The image quality of {clipped:.0%} of the patients was clipped to "
            f"{rules['clip_db']:g} dB about that of the study centre's own patients: the attacks' "
            "means lie nearer to theirs than they should."
        )
    return said


def summed_sentence(meta: Mapping[str, Any]) -> str:
    """That scores are known as a sum over sites only, of ``meta["summed_over"]``; '' where each
    site's own are known."""
    sites = meta.get("summed_over") or []
    if not sites:
        return ""
    return (
        f"Scores are the sum over {', '.join(map(str, sites))}, under secure aggregation: the "
        "study server saw no single site's, so there are no figures of one site."
    )


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
    """Whether masks hid each site's weights in this study, and whether noise bounds what they and
    the scores reveal, for a reader of ``results.json``, of its ``meta``. Nothing of what it does
    not tell."""
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
    if "evaluation_noise" in meta:
        said.append(scores_sentence(meta["evaluation_noise"]))
    return [*said, *filter(None, [summed_sentence(meta)])]


def joined(parts: Sequence[str]) -> str:
    """A list in a sentence: semicolons, because its parts have commas."""
    return "; ".join(parts)
