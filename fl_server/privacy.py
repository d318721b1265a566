"""Epsilon of a study: a maximum over sites, never a mean; and what stands outside it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from infomri_core.errors import InputError
from infomri_core.exchange import TrainReply
from infomri_core.plan import Plan

OUTSIDE = (
    "sampled k-space released to the study centre",
    "the choice of beta and acceleration by looking at results",
    "numbers of patients and slices",
    "score histograms and image quality of validation patients",
)
"""What epsilon does not cover; see docs/privacy.md."""


def check_epsilon(plan: Plan, reply: TrainReply) -> None:
    """``InputError`` for an update with no epsilon where the plan has privacy, or the reverse."""
    if (plan.privacy is None) != (reply.epsilon is None):
        expected = "none" if plan.privacy is None else "a number"
        raise InputError("reply: epsilon", expected, str(reply.epsilon), "update that site")


def max_epsilon(replies: Iterable[TrainReply]) -> float | None:
    """The largest epsilon at any site: each patient is at one of them only. None without any."""
    return max((r.epsilon for r in replies if r.epsilon is not None), default=None)


def study_epsilon(history: Mapping[str, Any]) -> float | None:
    """The largest epsilon of any round: a site that dropped out has spent what it spent."""
    found = [entry.get("epsilon") for entry in history["rounds"]]
    return max((e for e in found if e is not None), default=None)


def privacy_meta(plan: Plan, history: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a report says of differential privacy; None where the plan has none."""
    if plan.privacy is None:
        return None
    outside = [*OUTSIDE, *(["mean loss terms of each round"] if plan.privacy.losses else [])]
    return {**asdict(plan.privacy), "epsilon": study_epsilon(history), "outside": outside}
