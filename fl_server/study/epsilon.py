"""Epsilon of a study: a maximum over sites, never a mean; and what stands outside it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from infomri_core.dp.outside_epsilon import outside_epsilon
from infomri_core.messages import MaskedReply, MomentsReply, TrainReply
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import InputError


def check_epsilon(plan: Plan, reply: TrainReply | MaskedReply | MomentsReply) -> None:
    """``InputError`` for an update with no epsilon where the plan has privacy, or the reverse."""
    if (plan.privacy is None) != (reply.epsilon is None):
        expected = "none" if plan.privacy is None else "a number"
        raise InputError("reply: epsilon", expected, str(reply.epsilon), "update that site")


def report_epsilons(history: dict[str, Any], told: Mapping[str, float | None]) -> None:
    """Note what sites, by name, reported of their spending in this study. Each number holds all
    that ever left the site for the study: replies that came late or were not used are in it too,
    and so the largest one reported stands."""
    known = history.setdefault("epsilons", {})
    for site, epsilon in told.items():
        if epsilon is not None:
            known[site] = max(epsilon, known.get(site, 0.0))


def study_epsilon(history: Mapping[str, Any]) -> float | None:
    """The largest epsilon that any site ever reported: each patient is at one of them only, and a
    site that dropped out has spent what it spent. None without privacy."""
    return max(history.get("epsilons", {}).values(), default=None)


def privacy_meta(plan: Plan, history: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a report says of differential privacy; None where the plan has none."""
    if plan.privacy is None:
        return None
    return {
        **asdict(plan.privacy),
        **({} if plan.moments is None else {"moments": asdict(plan.moments)}),
        "epsilon": study_epsilon(history),
        "epsilon_by_site": dict(sorted(history.get("epsilons", {}).items())),
        "outside": outside_epsilon(plan),
    }
