"""Scoring as typed values: what is asked in the last phase, and the summaries that answer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infomri_core.messages.secure import Masking, masking_from
from infomri_core.messages.wire import Arrays, Message, under, within
from infomri_core.summaries.linkage_summary import LinkageSummary
from infomri_core.summaries.metrics import ImageQuality, ScoreHistogram

_MIDDLES = ("edges", "expected")


@dataclass(frozen=True)
class EvaluateTask:
    """Score arms and attacks. ``attacks`` maps an attack's name to its arrays. Where the
    plan has noise, ``edges`` (C, L, bins - 1) lie between the bins of each label's scores, and
    ``expected`` are the PSNRs in dB about which a patient's are clipped, both in the order of
    :class:`~infomri_core.score_noise.mechanism.Form`. ``masking``: how the sums are to be masked,
    where the plan has secure aggregation."""

    plan_text: str
    round: int
    deadline: float
    arms: Arrays
    attacks: Mapping[str, Arrays] = field(default_factory=dict)
    edges: np.ndarray = field(default_factory=lambda: np.zeros(0))
    expected: np.ndarray = field(default_factory=lambda: np.zeros(0))
    masking: Masking | None = None

    def to_message(self) -> Message:
        header: dict[str, Any] = {
            "plan": self.plan_text,
            "round": self.round,
            "deadline": self.deadline,
        }
        if self.masking is not None:
            header["masking"] = self.masking.to_header()
        arrays = dict(under("arm", self.arms))
        for name in _MIDDLES:
            if getattr(self, name).size:
                arrays[name] = getattr(self, name)
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
    (:data:`~infomri_core.attacks.adversaries.BREAKDOWNS`).

    Where the plan has noise there are ``sums`` in place of ``scores``: one vector by family, its
    form that of plan and task, with ``noise`` the multiplier of the noise in it; None: not yet.
    """

    n_patients: int
    scores: Mapping[tuple[str, float], Scores]
    epsilon: float | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    sums: Mapping[str, np.ndarray] = field(default_factory=dict)
    noise: float | None = None

    def to_message(self) -> Message:
        arrays: dict[str, np.ndarray] = dict(under("sums", self.sums))
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
            "noise": self.noise,
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
    middles = [message.arrays.get(name, np.zeros(0)) for name in _MIDDLES]
    masking = masking_from(message.header.get("masking"))
    edges, expected = middles
    return EvaluateTask(plan, number, deadline, arms, attacks, edges, expected, masking)


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
    noise = None if header["noise"] is None else float(header["noise"])
    if noise is not None and not 0 < noise < math.inf:
        raise ValueError("noise")
    sums = within("sums", message.arrays)
    return EvaluateReply(int(header["n_patients"]), scores, epsilon, failed, sums, noise)


def _scores_from(cell: Arrays, attacks: list[str], read: list[str]) -> Scores:
    linkage = within("linkage", cell)
    return Scores(
        ScoreHistogram.from_arrays(within("histogram", cell)),
        {name: ImageQuality.from_arrays(within(f"quality/{name}", cell)) for name in attacks},
        LinkageSummary.from_arrays(linkage) if linkage else None,
        {name: ScoreHistogram.from_arrays(within(f"legibility/{name}", cell)) for name in read},
    )
