"""From the sites' summaries to rows, tables, figures and MLflow."""

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
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
from infomri_core.metrics import ImageQuality
from infomri_core.plan import Plan
from infomri_core.privacy.adversaries import DIAGNOSES
from infomri_core.privacy.attacks import FLOORS
from infomri_core.privacy.certify import void_because
from infomri_core.privacy.linkage_summary import FIGURES, KINDS, LinkageSummary
from infomri_core.privacy.reader import REPLICATES
from infomri_core.privacy.strengths import base_name

Cell = tuple[str, float]


@dataclass
class MergedScores:
    """Scores of all sites of a study by ``plan``, merged as they arrive: of a single site its
    figures are kept (:func:`site_figures`), not the summaries, which are megabytes."""

    plan: Plan
    scores: dict[Cell, Scores] = field(default_factory=dict)
    sites: dict[str, int] = field(default_factory=dict)
    by_site: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, site: str, reply: EvaluateReply) -> bool:
        """Merge one site's reply; False, and nothing merged, when it is not of the plan's form."""
        plan = self.plan
        cells = cells_of(plan)
        if not set(reply.scores) <= set(cells):
            return False
        if not all(map(self._fits, reply.scores.values())):
            return False
        merged = dict(self.scores)
        for cell, scores in reply.scores.items():
            known = merged.get(cell)
            both = scores if known is None else merge_scores(known, scores)
            merged[cell] = _by_name(both, plan.evaluation.attacks)
        self.scores = {cell: merged[cell] for cell in cells if cell in merged}
        self.sites[site] = reply.n_patients
        if reply.failed:
            self.failed[site] = dict(reply.failed)
        self.by_site += site_figures(site, reply, plan.evaluation.attacks)
        return True

    def in_order(self) -> list[dict[str, Any]]:
        """The figures of single sites by the site's name, then in the plan's order."""
        order = {cell: number for number, cell in enumerate(cells_of(self.plan))}
        return sorted(self.by_site, key=lambda f: (f["site"], order[f["arm"], f["acceleration"]]))

    def _fits(self, scores: Scores) -> bool:
        n = self.plan.evaluation.replicates + 1
        means = [quality.means for quality in scores.quality.values()]
        if scores.linkage is not None:
            means.append(scores.linkage.means)
        form = (n, len(self.plan.task.labels))
        read = {h.counts.shape[:2] for h in scores.legibility.values()}
        read_form = (min(REPLICATES, n - 1) + 1, form[1])
        whole = scores.histogram.counts.shape[:2] == form and read <= {read_form}
        return whole and all(len(m) == n for m in means)


def cells_of(plan: Plan) -> list[Cell]:
    """Every arm at every acceleration, in the plan's order."""
    return [(arm.name, a) for arm in plan.arms for a in plan.measurement.accelerations]


def _by_name(scores: Scores, attacks: Sequence[str]) -> Scores:
    """The same scores, their attacks in the plan's order, whatever order they came in."""

    def place(name: str) -> tuple[int, str]:
        base = base_name(name)
        return (attacks.index(base) if base in attacks else len(attacks), name)

    quality = {name: scores.quality[name] for name in sorted(scores.quality, key=place)}
    legibility = {name: scores.legibility[name] for name in sorted(scores.legibility, key=place)}
    return replace(scores, quality=quality, legibility=legibility)


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
    return [
        _row(plan, cell, merged.scores[cell], fitted, n_train, n_patients, rounds)
        for cell in cells_of(plan)
        if cell in merged.scores
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
    auroc, low, high = scores.histogram.auroc_interval()
    quality = {n: q for n, q in scores.quality.items() if base_name(n) in plan.evaluation.attacks}
    intervals = {name: q.interval("psnr") for name, q in quality.items()}
    floors = [scores.quality[name].mean("psnr") for name in FLOORS if name in scores.quality]
    diagnoses = [scores.quality[n].mean("psnr") for n in DIAGNOSES if n in scores.quality]
    return Row(
        arm=arm.name,
        sampler=arm.sampler,
        suppression=arm.suppression,
        beta=arm.beta,
        seed=arm.seed,
        acceleration=cell[1],
        auroc=auroc,
        auroc_low=low,
        auroc_high=high,
        accuracy=scores.histogram.accuracy(),
        psnr={name: value for name, (value, _, _) in intervals.items()},
        psnr_low={name: low for name, (_, low, _) in intervals.items() if low is not None},
        psnr_high={name: high for name, (_, _, high) in intervals.items() if high is not None},
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
    intervals = {name: read.auroc_interval() for name, read in scores.legibility.items()}
    value, low, high = (
        {name: figures[i] for name, figures in intervals.items() if figures[i] is not None}
        for i in range(3)
    )
    return {"legibility": value, "legibility_low": low, "legibility_high": high}


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
    low, high = {}, {}
    for kind, figure in product(KINDS, FIGURES):
        name = f"{kind}_{figure}"
        figures[f"linkage_{name}"] = linkage.value(kind, figure)
        if (interval := linkage.interval(kind, figure)) is not None:
            low[name], high[name] = interval
    return figures | {"linkage_low": low, "linkage_high": high}


def site_figures(
    site: str, reply: EvaluateReply, attacks: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A site's own figures: AUROC with interval and PSNR of the ``attacks``, as JSON values.

    They exist for sites only that let scores of at least their minimum cohort leave.
    """
    for (arm, acceleration), scores in reply.scores.items():
        auroc, low, high = scores.histogram.auroc_interval()
        quality = _by_name(scores, attacks).quality
        psnr = {n: q.mean("psnr") for n, q in quality.items() if base_name(n) in attacks}
        place = {"site": site, "arm": arm, "acceleration": acceleration}
        figures = {"auroc": auroc, "auroc_low": low, "auroc_high": high, "psnr": psnr}
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


def lost_states(history: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Which arms went on with a fresh optimizer, at which site and in which round."""
    return [
        {"round": told["round"], "site": site, "arms": arms}
        for told in history["rounds"]
        for site, arms in sorted(told.get("lost_state", {}).items())
    ]


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
        "sites": dict(sorted(merged.sites.items())),
        "per_site": merged.in_order(),
        "dropped_arms": dict(sorted(dropped.items())),
        "n_audit": fitted.n_images,
        "certificates": {name: asdict(c) for name, c in fitted.certificates.items()},
        "attack_histories": fitted.histories,
        "attack_budgets": fitted.budgets,
        "failed_attacks": fitted.failed,
        "failed_at_sites": {site: merged.failed[site] for site in sorted(merged.failed)},
        "size_curves": {
            name: dict(c.size_curve) for name, c in fitted.certificates.items() if c.size_curve
        },
        "audit_void": void_because(strongest(merged, plan), fitted.certificates) or False,
        "privacy": privacy_meta(plan, history),
        "epsilon": study_epsilon(history),
        "rounds": history["rounds"],
        "lost_state": lost_states(history),
        "phase_seconds": dict(seconds),
        "versions": {
            "infomri": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
