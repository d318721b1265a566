"""Scoring as typed values: what is asked in the last phase, and the summaries that answer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infomri_core.messages.budget import epsilon_from
from infomri_core.messages.secure import Masking, masking_from
from infomri_core.messages.wire import Arrays, Message, under, within
from infomri_core.summaries.linkage_summary import LinkageSummary
from infomri_core.summaries.metrics import ImageQuality
from infomri_core.summaries.summary import Summary
from infomri_core.tasks.registry import DEFAULT, task_class

TASK, QUALITY, LINKAGE, LEGIBILITY = "task", "quality", "linkage", "legibility"

_MIDDLES = ("reference", "expected")


@dataclass(frozen=True)
class EvaluateTask:
    """Score arms and attacks.

    Args:
        plan_text: The whole plan.
        deadline: Unix time, seconds.
        arms: Flat float32 weights by arm.
        attacks: Arrays by attack.
        reference: (C, ...), what the task bounds its sums by, where the plan has noise, in the
            order of ``infomri_core.score_noise.mechanism.Form``.
        expected: dB, the PSNRs about which a patient's are clipped, in the same order.
        masking: How the sums are to be masked, where the plan has secure aggregation.
    """

    plan_text: str
    round: int
    deadline: float
    arms: Arrays
    attacks: Mapping[str, Arrays] = field(default_factory=dict)
    reference: np.ndarray = field(default_factory=lambda: np.zeros(0))
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
    """One arm at one acceleration.

    Args:
        task: How well the task is done.
        quality: Of each attack's images.
        linkage: How often a measurement is matched to its patient; None where no one asked.
        legibility: How well the task is done by a network for full images on each attack's, and
            on the true ones.
    """

    task: Summary
    quality: Mapping[str, ImageQuality]
    linkage: LinkageSummary | None = None
    legibility: Mapping[str, Summary] = field(default_factory=dict)

    def named(self) -> dict[str, Summary]:
        """Every summary by its path: ``task``, ``quality/NAME``, ``linkage``,
        ``legibility/NAME``."""
        found: dict[str, Summary] = {TASK: self.task}
        found |= {f"{QUALITY}/{name}": summary for name, summary in self.quality.items()}
        if self.linkage is not None:
            found[LINKAGE] = self.linkage
        return found | {f"{LEGIBILITY}/{name}": s for name, s in self.legibility.items()}

    @classmethod
    def of(cls, named: Mapping[str, Any]) -> "Scores":
        """What ``named`` gave."""

        def inside(path: str) -> dict[str, Any]:
            start = f"{path}/"
            return {n.removeprefix(start): s for n, s in named.items() if n.startswith(start)}

        return cls(named[TASK], inside(QUALITY), named.get(LINKAGE), inside(LEGIBILITY))

    def merge(self, other: "Scores") -> "Scores":
        """Both sites' groups; a summary that only one of them has stays as it is."""
        mine, theirs = self.named(), other.named()
        both = {n: mine[n].merge(s) if n in mine else s for n, s in theirs.items()}
        return Scores.of(mine | both)


@dataclass(frozen=True)
class EvaluateReply:
    """What a site says of its patients' scores.

    Args:
        n_patients: Rounded by the gate.
        scores: By arm and acceleration.
        epsilon: What the study has spent here in all, at the plan's delta; None where it has no
            privacy, or no gate.
        failed: Attacks that broke down at the site, and by what.
        sums: Where the plan has noise, in place of ``scores``: one vector by family, its form that
            of plan and task.
        noise: Multiplier of the noise in them; None: not yet.
        task: Kind of the plan's task.
    """

    n_patients: int
    scores: Mapping[tuple[str, float], Scores]
    epsilon: float | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    sums: Mapping[str, np.ndarray] = field(default_factory=dict)
    noise: float | None = None
    task: str = DEFAULT

    def to_message(self) -> Message:
        arrays: dict[str, np.ndarray] = dict(under("sums", self.sums))
        cells = []
        for i, ((arm, acceleration), scores) in enumerate(sorted(self.scores.items(), key=_cell)):
            named = dict(sorted(scores.named().items()))
            cells.append([arm, acceleration, list(named)])
            for name, summary in named.items():
                arrays |= under(f"{i}/{name}", summary.to_arrays())
        header = {
            "n_patients": self.n_patients,
            "cells": cells,
            "epsilon": self.epsilon,
            "failed": dict(self.failed),
            "noise": self.noise,
            "task": self.task,
        }
        return Message("evaluated", header, arrays)


def _cell(item: tuple[tuple[str, float], Scores]) -> tuple[str, float]:
    return item[0]


def evaluate_task_from(message: Message, plan: str, number: int, deadline: float) -> EvaluateTask:
    """The rest of an evaluation task."""
    arms = within("arm", message.arrays)
    attacks: dict[str, dict[str, np.ndarray]] = {}
    for key, array in within("attack", message.arrays).items():
        name, _, part = key.partition("/")
        attacks.setdefault(name, {})[part] = array
    middles = [message.arrays.get(name, np.zeros(0)) for name in _MIDDLES]
    masking = masking_from(message.header.get("masking"))
    reference, expected = middles
    return EvaluateTask(plan, number, deadline, arms, attacks, reference, expected, masking)


def evaluated_from(message: Message) -> EvaluateReply:
    """The scores in a message; ``ValueError``, ``KeyError`` or ``TypeError`` when they have not
    the form."""
    header = message.header
    scores = {}
    task = str(header["task"])
    kinds: dict[str, type[Summary]] = {QUALITY: ImageQuality, LINKAGE: LinkageSummary}
    kinds |= dict.fromkeys((TASK, LEGIBILITY), task_class(task).summary)
    for i, (arm, acceleration, names) in enumerate(header["cells"]):
        cell = within(str(i), message.arrays)
        scores[str(arm), float(acceleration)] = Scores.of(
            {n: kinds[n.partition("/")[0]].from_arrays(within(n, cell)) for n in names}
        )
    epsilon = epsilon_from(header["epsilon"])
    failed = {str(name): str(why) for name, why in header["failed"].items()}
    noise = None if header["noise"] is None else float(header["noise"])
    if noise is not None and not 0 < noise < math.inf:
        raise ValueError("noise")
    sums = within("sums", message.arrays)
    return EvaluateReply(int(header["n_patients"]), scores, epsilon, failed, sums, noise, task)
