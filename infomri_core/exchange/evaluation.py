"""Scoring as typed values: what is asked in the last phase, and the summaries that answer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from infomri_core.metrics import ImageQuality, ScoreHistogram
from infomri_core.privacy.linkage_summary import LinkageSummary
from infomri_core.wire import Arrays, Message, under, within


@dataclass(frozen=True)
class EvaluateTask:
    """Score arms and attacks. ``attacks`` maps an attack's name to its arrays."""

    plan_text: str
    round: int
    deadline: float
    arms: Arrays
    attacks: Mapping[str, Arrays] = field(default_factory=dict)

    def to_message(self) -> Message:
        header = {"plan": self.plan_text, "round": self.round, "deadline": self.deadline}
        arrays = dict(under("arm", self.arms))
        for name, attack in self.attacks.items():
            arrays |= under(f"attack/{name}", attack)
        return Message("evaluate", header, arrays)


@dataclass(frozen=True)
class Scores:
    """One arm at one acceleration: classification, the quality of each attack's images, how
    often a measurement is matched to its patient (None where nobody asked), and what a reader of
    full images makes of each attack's (and of the true ones)."""

    histogram: ScoreHistogram
    quality: Mapping[str, ImageQuality]
    linkage: LinkageSummary | None = None
    legibility: Mapping[str, ScoreHistogram] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluateReply:
    """``scores[arm, acceleration]``; ``n_patients`` rounded by the gate. ``epsilon`` is what the
    study has spent here in all, at the plan's delta; None where it has no privacy, or no gate.
    ``failed``: attacks that broke down at the site, and by what
    (:data:`~infomri_core.privacy.adversaries.BREAKDOWNS`)."""

    n_patients: int
    scores: Mapping[tuple[str, float], Scores]
    epsilon: float | None = None
    failed: Mapping[str, str] = field(default_factory=dict)

    def to_message(self) -> Message:
        arrays: dict[str, np.ndarray] = {}
        cells = []
        for i, ((arm, acceleration), scores) in enumerate(sorted(self.scores.items(), key=_cell)):
            names = sorted(scores.quality), sorted(scores.legibility)
            cells.append([arm, acceleration, *names])
            arrays |= under(f"{i}/histogram", scores.histogram.to_arrays())
            for name, quality in scores.quality.items():
                arrays |= under(f"{i}/quality/{name}", quality.to_arrays())
            if scores.linkage is not None:
                arrays |= under(f"{i}/linkage", scores.linkage.to_arrays())
            for name, histogram in scores.legibility.items():
                arrays |= under(f"{i}/legibility/{name}", histogram.to_arrays())
        header = {
            "n_patients": self.n_patients,
            "cells": cells,
            "epsilon": self.epsilon,
            "failed": dict(self.failed),
        }
        return Message("evaluated", header, arrays)


def _cell(item: tuple[tuple[str, float], Scores]) -> tuple[str, float]:
    return item[0]


def evaluate_task_from(
    message: Message, plan: str, number: int, deadline: float, arms: Arrays
) -> EvaluateTask:
    """The rest of an evaluation task."""
    attacks: dict[str, dict[str, np.ndarray]] = {}
    for key, array in within("attack", message.arrays).items():
        name, _, part = key.partition("/")
        attacks.setdefault(name, {})[part] = array
    return EvaluateTask(plan, number, deadline, arms, attacks)


def evaluated_from(message: Message) -> EvaluateReply:
    """The scores in a message; ``ValueError``, ``KeyError`` or ``TypeError`` when they have not
    the form."""
    header = message.header
    scores = {}
    for i, (arm, acceleration, attacks, read) in enumerate(header["cells"]):
        scores[str(arm), float(acceleration)] = _scores_from(
            within(str(i), message.arrays), attacks, read
        )
    epsilon = None if header["epsilon"] is None else float(header["epsilon"])
    if epsilon is not None and not 0 <= epsilon < math.inf:
        raise ValueError("epsilon")
    failed = {str(name): str(why) for name, why in header["failed"].items()}
    return EvaluateReply(int(header["n_patients"]), scores, epsilon, failed)


def _scores_from(cell: Arrays, attacks: list[str], read: list[str]) -> Scores:
    linkage = within("linkage", cell)
    return Scores(
        ScoreHistogram.from_arrays(within("histogram", cell)),
        {name: ImageQuality.from_arrays(within(f"quality/{name}", cell)) for name in attacks},
        LinkageSummary.from_arrays(linkage) if linkage else None,
        {name: ScoreHistogram.from_arrays(within(f"legibility/{name}", cell)) for name in read},
    )
