"""From the sites' summaries to rows, tables, figures and MLflow."""

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch

from fl_server.audit import FittedAudit
from fl_server.examples import Examples
from fl_server.privacy import privacy_meta, study_epsilon
from fl_server.publish import Published
from fl_server.tracking import Tracker
from infomri_core import __version__
from infomri_core.exchange import EvaluateReply, Scores
from infomri_core.frontier import Row
from infomri_core.groups import SLOTS
from infomri_core.jackknife import Estimate
from infomri_core.metrics import ImageQuality
from infomri_core.plan import Plan
from infomri_core.privacy.adversaries import DIAGNOSES
from infomri_core.privacy.attacks import FLOORS
from infomri_core.privacy.certify import void_because
from infomri_core.privacy.linkage_summary import FIGURES, KINDS, LinkageSummary
from infomri_core.privacy.strengths import base_name

Cell = tuple[str, float]


@dataclass
class MergedScores:
    """Scores of all sites of a study by ``plan``: the sites' groups side by side, in the order of
    the sites' names, so that the result does not depend on who answered first."""

    plan: Plan
    replies: dict[str, EvaluateReply] = field(default_factory=dict)

    def add(self, site: str, reply: EvaluateReply) -> bool:
        """Take in one site's reply; False, and nothing is taken, if it has another form."""
        plan = self.plan
        cells = {(arm.name, a) for arm in plan.arms for a in plan.measurement.accelerations}
        if not set(reply.scores) <= cells or not all(map(self._fits, reply.scores.values())):
            return False
        self.replies = dict(sorted({**self.replies, site: reply}.items()))
        return True

    @property
    def scores(self) -> dict[Cell, Scores]:
        """Of each arm and acceleration, every site's groups."""
        merged: dict[Cell, Scores] = {}
        for reply in self.replies.values():
            for cell, scores in reply.scores.items():
                merged[cell] = merge_scores(merged[cell], scores) if cell in merged else scores
        return merged

    @property
    def sites(self) -> dict[str, int]:
        """How many patients each site scored."""
        return {site: reply.n_patients for site, reply in self.replies.items()}

    @property
    def failed(self) -> dict[str, dict[str, str]]:
        """Attacks that broke down at a site, and by what."""
        return {site: dict(reply.failed) for site, reply in self.replies.items() if reply.failed}

    @property
    def by_site(self) -> list[dict[str, Any]]:
        """Every site's own figures (:func:`site_figures`)."""
        attacks = self.plan.evaluation.attacks
        found = (site_figures(site, reply, attacks) for site, reply in self.replies.items())
        return [figures for site in found for figures in site]

    def _fits(self, scores: Scores) -> bool:
        form = (SLOTS, len(self.plan.task.labels))
        histograms = [scores.histogram, *scores.legibility.values()]
        weights = [quality.weight for quality in scores.quality.values()]
        if scores.linkage is not None:
            weights.append(scores.linkage.weight)
        whole = all(histogram.counts.shape[:2] == form for histogram in histograms)
        return whole and all(len(weight) == SLOTS for weight in weights)


def merge_scores(a: Scores, b: Scores) -> Scores:
    """Both sites' scores; an attack that only one of them scored stays as it is."""
    quality: dict[str, ImageQuality] = dict(a.quality)
    for name, other in b.quality.items():
        quality[name] = quality[name].merge(other) if name in quality else other
    linkage = a.linkage or b.linkage
    if a.linkage is not None and b.linkage is not None:
        linkage = a.linkage.merge(b.linkage)
    legibility = dict(a.legibility)
    for name, read in b.legibility.items():
        legibility[name] = legibility[name].merge(read) if name in legibility else read
    return Scores(a.histogram.merge(b.histogram), quality, linkage, legibility)


def build_rows(
    plan: Plan, merged: MergedScores, fitted: FittedAudit, n_train: int, rounds: int
) -> list[Row]:
    """One row for each arm and acceleration that was scored, in the plan's order."""
    n_patients = sum(merged.sites.values())
    cells = [(arm.name, a) for arm in plan.arms for a in plan.measurement.accelerations]
    scores = merged.scores
    return [
        _row(plan, cell, scores[cell], fitted, n_train, n_patients, rounds)
        for cell in cells
        if cell in scores
    ]


def _row(
    plan: Plan,
    cell: Cell,
    scores: Scores,
    fitted: FittedAudit,
    n_train: int,
    n_patients: int,
    rounds: int,
) -> Row:
    arm = plan.arm(cell[0])
    auroc = scores.histogram.auroc_estimate()
    quality = {n: q for n, q in scores.quality.items() if base_name(n) in plan.evaluation.attacks}
    psnr = {name: q.estimate("psnr") for name, q in quality.items()}
    floors = [scores.quality[name].mean("psnr") for name in FLOORS if name in scores.quality]
    diagnoses = [scores.quality[n].mean("psnr") for n in DIAGNOSES if n in scores.quality]
    return Row(
        arm=arm.name,
        sampler=arm.sampler,
        suppression=arm.suppression,
        beta=arm.beta,
        seed=arm.seed,
        acceleration=cell[1],
        auroc=auroc.value,
        auroc_low=auroc.low,
        auroc_high=auroc.high,
        auroc_groups=auroc.n_groups,
        accuracy=scores.histogram.accuracy(),
        psnr=_defined(psnr, "value"),
        psnr_low=_defined(psnr, "low"),
        psnr_high=_defined(psnr, "high"),
        psnr_groups=max((found.n_groups for found in psnr.values()), default=None),
        psnr_of_mean_mse={name: q.psnr_of_mean_mse for name, q in quality.items()},
        ssim={name: q.mean("ssim") for name, q in quality.items()},
        nmse={name: q.mean("nmse") for name, q in quality.items()},
        **legibility_figures(scores),
        certified=tuple(n for n in quality if _passed(fitted, n)),
        psnr_prior=max(floors, default=None),
        psnr_diagnosis=max(diagnoses, default=None),
        redundancy=fitted.redundancy.get(cell),
        **linkage_figures(scores.linkage),
        n_train=n_train,
        n_audit=fitted.n_images,
        n_patients=n_patients,
        rounds=rounds,
    )


def legibility_figures(scores: Scores) -> dict[str, Any]:
    """The row's fields on what a reader of full images makes of each attack's images."""
    found = {name: read.auroc_estimate() for name, read in scores.legibility.items()}
    return {
        "legibility": _defined(found, "value"),
        "legibility_low": _defined(found, "low"),
        "legibility_high": _defined(found, "high"),
    }


def _defined(found: Mapping[str, Estimate], part: str) -> dict[str, float]:
    """One part of each estimate that has it."""
    parts = {name: getattr(estimate, part) for name, estimate in found.items()}
    return {name: value for name, value in parts.items() if value is not None}


def _passed(fitted: FittedAudit, name: str) -> bool:
    """Whether the attack passed on the control mask. One trained further is judged by the public
    attack that it began as: on images it has not seen it ends no worse."""
    certificate = fitted.certificates.get(base_name(name))
    return certificate is not None and certificate.passed


def linkage_figures(linkage: LinkageSummary | None) -> dict[str, Any]:
    """The row's fields on linkage; empty where no site matched its measurements."""
    if linkage is None:
        return {}
    figures: dict[str, Any] = {"linkage_gallery": linkage.candidates()}
    found = {f"{k}_{f}": linkage.estimate(k, f) for k, f in product(KINDS, FIGURES)}
    figures |= {f"linkage_{name}": estimate.value for name, estimate in found.items()}
    return figures | {
        "linkage_low": _defined(found, "low"),
        "linkage_high": _defined(found, "high"),
    }


def site_figures(
    site: str, reply: EvaluateReply, attacks: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A site's own figures: AUROC with interval and PSNR of the ``attacks``, as JSON values.

    They exist for sites only that let scores of at least their minimum cohort leave.
    """
    for (arm, acceleration), scores in reply.scores.items():
        auroc = scores.histogram.auroc_estimate()
        psnr = {n: q.mean("psnr") for n, q in scores.quality.items() if base_name(n) in attacks}
        place = {"site": site, "arm": arm, "acceleration": acceleration}
        ends = {"auroc_low": auroc.low, "auroc_high": auroc.high, "groups": auroc.n_groups}
        figures = {"auroc": auroc.value, **ends, "psnr": psnr}
        yield {**place, "n_patients": reply.n_patients, **figures}


def record(
    directory: Path,
    plan: Plan,
    rows: list[Row],
    meta: dict[str, Any],
    tracker: Tracker,
    shown: Examples | None = None,
) -> None:
    """Write results, figures, privacy report and ``plan.toml``; log all of it."""
    plan_file = directory / "plan.toml"
    written = Published(directory).write(rows, meta, shown)
    plan_file.write_text(plan.text, encoding="utf-8")
    tracker.result(rows)
    tracker.phases(len(meta["rounds"]), meta["phase_seconds"])
    for path in (*written, plan_file):
        tracker.artifact(path)


def strongest(merged: MergedScores, plan: Plan) -> Iterator[tuple[str, str]]:
    """For each arm and acceleration where it is, and the attack that rebuilt best there."""
    for (arm, acceleration), scores in merged.scores.items():
        psnr = {n: scores.quality[n].mean("psnr") for n in scores.quality}
        names = [n for n in psnr if base_name(n) in plan.evaluation.attacks]
        if names:
            strongest_name = max(names, key=lambda n: (psnr[n], n))
            yield f"{arm} at {acceleration:g}x", base_name(strongest_name)


def study_meta(
    plan: Plan,
    fitted: FittedAudit,
    merged: MergedScores,
    dropped: Mapping[str, str],
    history: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """What a reader needs to judge the rows: seeds, versions, sites, the audit's own quality."""
    return {
        "study": plan.study.name,
        "created": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "seed": plan.study.seed,
        "plan_sha256": plan.digest,
        "noise_std": plan.measurement.noise_std,
        "labels": list(plan.task.labels),
        "position_band": plan.evaluation.position_band,
        "sites": merged.sites,
        "per_site": merged.by_site,
        "dropped_arms": dict(dropped),
        "n_audit": fitted.n_images,
        "certificates": {name: asdict(c) for name, c in fitted.certificates.items()},
        "attack_histories": fitted.histories,
        "attack_budgets": fitted.budgets,
        "failed_attacks": fitted.failed,
        "failed_at_sites": merged.failed,
        "size_curves": {
            name: dict(c.size_curve) for name, c in fitted.certificates.items() if c.size_curve
        },
        "audit_void": void_because(strongest(merged, plan), fitted.certificates) or False,
        "privacy": privacy_meta(plan, history),
        "epsilon": study_epsilon(history),
        "rounds": history["rounds"],
        "phase_seconds": dict(seconds),
        "versions": {
            "infomri": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
