"""A row's figures from sums under noise, and from the study centre's own held-out patients."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fl_server.study.evaluation.held_out import HeldOut
from infomri_core.audit.adversaries import DIAGNOSES
from infomri_core.messages import EvaluateReply
from infomri_core.plan.adversary_knowledge import base_name
from infomri_core.plan.plan import Plan
from infomri_core.score_noise.mechanism import Cell, Form, evaluation_mechanism, evaluation_noise
from infomri_core.score_noise.noised_scores import NoisedScores, noised_from
from infomri_core.score_noise.ring import ScoresSum
from infomri_core.summaries.jackknife import Estimate, conservative_difference


@dataclass(frozen=True)
class NoiseTask:
    """What was asked of sites whose plan has noise: the form of the answer, and what the study
    centre's own patients let expect."""

    plan: Plan
    form: Form
    held_out: HeldOut

    def read(self, reply: EvaluateReply) -> NoisedScores:
        """One site's sums. ``ValueError`` where they are not of the form, or the noise is not the
        plan's."""
        mechanism = evaluation_mechanism(self.plan)
        if mechanism is None or reply.noise != mechanism[0]:
            raise ValueError("scores under another noise than the plan's")
        return noised_from(self.form, reply.sums, mechanism[0])

    def read_sum(self, found: ScoresSum) -> NoisedScores:
        """The sums of all sites together, each site's noise in them."""
        mechanism = evaluation_mechanism(self.plan)
        assert mechanism is not None
        one = NoisedScores.of(self.form, found.sums, mechanism[0])
        return replace(one, variance={f: v * found.n_sites for f, v in one.variance.items()})

    def figures(
        self, scores: NoisedScores, cell: Cell, failed: Collection[str] = ()
    ) -> dict[str, Any]:
        """The fields of a row that come from the sites. Nothing of attacks that ``failed`` at one
        of them: their sums hold what was expected there in place of what was found."""
        expected = self.held_out.expected(self.form)
        found = scores.psnr(cell, expected, self.plan.evaluation.clip_db)
        found = {name: ends for name, ends in found.items() if name not in failed}
        attacks = {n: v for n, v in found.items() if base_name(n) in self.plan.evaluation.attacks}
        floors = {
            "prior": self._best(found, cell, self.form.floors),
            "answer": self._best(found, cell, DIAGNOSES),
        }
        worst = _worst(attacks)
        gains = {name: conservative_difference(floor, worst) for name, floor in floors.items()}
        return {
            "figures": scores.figures(cell, self.held_out.reference(self.form)),
            "psnr": _part(attacks, "value"),
            "psnr_low": _part(attacks, "low"),
            "psnr_high": _part(attacks, "high"),
            **{f"psnr_{name}": floor.value for name, floor in floors.items()},
            "gain_low": _part(gains, "low"),
            "gain_high": _part(gains, "high"),
        }

    def _best(self, found: Mapping[str, Estimate], cell: Cell, names: Iterable[str]) -> Estimate:
        """The PSNR of that one of ``names`` which is the best on the study centre's own patients:
        the largest of several noised figures would be too large."""
        there = [name for name in names if name in found]
        best = max(there, key=lambda name: self.held_out.psnr(cell, name), default=None)
        return Estimate(None) if best is None else found[best]


def _worst(attacks: Mapping[str, Estimate]) -> Estimate:
    """The strongest attack's PSNR."""
    known = {name: found.value for name, found in attacks.items() if found.value is not None}
    worst = max(known, key=lambda name: (known[name], name), default=None)
    return Estimate(None) if worst is None else attacks[worst]


def merged_sums(sites: Iterable[NoisedScores]) -> NoisedScores | None:
    """The sums of all sites; None where there is none."""
    merged: NoisedScores | None = None
    for scores in sites:
        merged = scores if merged is None else merged.merge(scores)
    return merged


def noise_meta(task: NoiseTask, scores: NoisedScores) -> dict[str, Any]:
    """What a report says of the noise beyond the plan's rules: the share of patients whose image
    quality was clipped, to a tenth, and how many of the study centre's own were scored."""
    return {
        **(evaluation_noise(task.plan) or {}),
        "clip_db": task.plan.evaluation.clip_db,
        "clipped": float(np.round(scores.clipped(), 1)),
        "n_held_out": task.held_out.n_patients,
    }


def _part(found: Mapping[str, Estimate], part: str) -> dict[str, float]:
    return {n: value for n, e in found.items() if (value := getattr(e, part)) is not None}
