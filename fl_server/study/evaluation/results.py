"""From the sites' summaries to rows, tables, figures and MLflow."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from fl_server.audit.adversaries import FittedAudit
from fl_server.study.evaluation.noised_rows import NoiseTask, merged_sums, noise_meta
from infomri_core.attacks.registry import FLOORS
from infomri_core.audit.adversaries import DIAGNOSES
from infomri_core.messages import EvaluateReply, Scores
from infomri_core.plan.adversary_knowledge import base_name
from infomri_core.plan.alone import alone_arms
from infomri_core.plan.plan import Plan
from infomri_core.results.arm_names import alone_name, federated_name
from infomri_core.results.frontier import ALONE, FEDERATED, Row
from infomri_core.score_noise.noised_scores import NoisedScores
from infomri_core.score_noise.ring import ScoresSum
from infomri_core.summaries.groups import SLOTS
from infomri_core.summaries.jackknife import Estimate
from infomri_core.summaries.linkage_summary import FIGURES, KINDS, LinkageSummary
from infomri_core.summaries.metrics import ImageQuality
from infomri_core.summaries.summary import n_groups
from infomri_core.tasks.figures import flat
from infomri_core.tasks.task import Task

Cell = tuple[str, float]


@dataclass
class MergedScores:
    """Scores of all sites of a study by ``plan``: the sites' groups side by side, in the order of
    the sites' names, so that the result does not depend on who answered first. ``summed``: the
    sites of whose scores only the sum is known."""

    plan: Plan
    replies: dict[str, EvaluateReply] = field(default_factory=dict)
    noise: NoiseTask | None = None
    summed: tuple[str, ...] = ()
    _noised: dict[str, NoisedScores] = field(default_factory=dict)

    def add(self, site: str, reply: EvaluateReply) -> bool:
        """Take in one site's reply; False, and nothing is taken, if it has another form: with
        ``noise`` sums under it, or what was scored in this process and never left."""
        plan = self.plan
        cells = cells_of(plan)
        if not set(reply.scores) <= set(cells) or not all(map(self._fits, reply.scores.values())):
            return False
        if bool(reply.scores) == bool(reply.sums) or (self.replies and self._other_kind(reply)):
            return False
        if reply.sums:
            try:
                self._noised[site] = _read(self.noise, reply)
            except ValueError:
                return False
        self.replies = dict(sorted({**self.replies, site: reply}.items()))
        return True

    def add_sum(self, sites: Sequence[str], found: ScoresSum) -> None:
        """Take in the sum over ``sites`` under secure aggregation, in place of all replies."""
        assert self.noise is not None
        named = f"sum over {', '.join(sites)}"
        failed = {
            name: ", ".join(f"{why} at {n} of {found.n_sites} sites" for why, n in kinds.items())
            for name, kinds in found.failed.items()
        }
        self.summed = tuple(sites)
        self._noised = {named: self.noise.read_sum(found)}
        self.replies = {named: EvaluateReply(found.n_patients, {}, failed=failed)}

    def _other_kind(self, reply: EvaluateReply) -> bool:
        return bool(self._noised) != bool(reply.sums)

    def figures(self) -> dict[Cell, dict[str, Any]]:
        """The fields of a row that scores say, for each arm and acceleration that was scored.
        Under noise, linkage and legibility are the study centre's own held-out patients'."""
        noised = merged_sums(self._noised.values())
        if noised is None or self.noise is None:
            return {cell: exact_figures(self.plan, s) for cell, s in self.scores.items()}
        known = self.noise.held_out.scores
        failed = {name for names in self.failed.values() for name in names}
        return {
            cell: {
                **(held_out_figures(self.plan, known[cell]) if cell in known else {}),
                **self.noise.figures(noised, cell, failed),
            }
            for cell in noised.form.scored
        }

    def noise_meta(self) -> dict[str, Any]:
        """What the report says of the noise of scores; None in it where the study has switched it
        off, nothing where scores were made in this process."""
        noised = merged_sums(self._noised.values())
        if noised is not None and self.noise is not None:
            return {"evaluation_noise": noise_meta(self.noise, noised)}
        return {} if self.plan.evaluation.noise else {"evaluation_noise": None}

    @property
    def scores(self) -> dict[Cell, Scores]:
        """Of each arm and acceleration, every site's groups."""
        merged: dict[Cell, Scores] = {}
        for reply in self.replies.values():
            for cell, scores in reply.scores.items():
                merged[cell] = merged[cell].merge(scores) if cell in merged else scores
        attacks = self.plan.evaluation.attacks
        return {c: _in_order(merged[c], attacks) for c in cells_of(self.plan) if c in merged}

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
        """Every site's own figures (:func:`site_figures`); none where only their sum is known."""
        if self.summed:
            return []
        found = []
        for site, reply in self.replies.items():
            alone = MergedScores(self.plan, {site: reply}, self.noise)
            alone._noised = {s: scores for s, scores in self._noised.items() if s == site}
            found += list(site_figures(self.plan.task, site, reply.n_patients, alone.figures()))
        return found

    def _fits(self, scores: Scores) -> bool:
        """Whether every summary is of the plan's task and of one site's groups."""
        task, named = self.plan.task, scores.named()
        if any(n_groups(summary) != SLOTS for summary in named.values()):
            return False
        shapes = task.summary_shapes()
        return all(
            isinstance(found, task.summary)
            and {name: array.shape[1:] for name, array in found.to_arrays().items()} == shapes
            for found in (scores.task, *scores.legibility.values())
        )


def cells_of(plan: Plan) -> list[Cell]:
    """Every arm at every acceleration, in the plan's order, then those trained at each site."""
    names = [arm.name for arm in plan.arms] + [alone_name(arm.name) for arm in alone_arms(plan)]
    return [(name, a) for name in names for a in plan.measurement.accelerations]


def _in_order(scores: Scores, attacks: Sequence[str]) -> Scores:
    """The same scores, their attacks in the plan's order, whatever order they came in."""

    def place(name: str) -> tuple[int, str]:
        base = base_name(name)
        return (attacks.index(base) if base in attacks else len(attacks), name)

    quality = {name: scores.quality[name] for name in sorted(scores.quality, key=place)}
    legibility = {name: scores.legibility[name] for name in sorted(scores.legibility, key=place)}
    return replace(scores, quality=quality, legibility=legibility)


def build_rows(
    plan: Plan, merged: MergedScores, fitted: FittedAudit, n_train: int, rounds: int
) -> list[Row]:
    """One row for each arm and acceleration that was scored, in the plan's order."""
    n_patients = sum(merged.sites.values())
    figures = merged.figures()
    return [
        _row(plan, cell, figures[cell], fitted, n_train, n_patients, rounds)
        for cell in cells_of(plan)
        if cell in figures
    ]


def _row(
    plan: Plan,
    cell: Cell,
    figures: Mapping[str, Any],
    fitted: FittedAudit,
    n_train: int,
    n_patients: int,
    rounds: int,
) -> Row:
    arm = plan.arm(federated_name(cell[0]))
    return Row(
        arm=cell[0],
        training=FEDERATED if cell[0] == arm.name else ALONE,
        task=plan.task.kind,
        sampler=arm.sampler,
        suppression=arm.suppression,
        beta=arm.beta,
        psnr_target=arm.psnr_target,
        seed=arm.seed,
        acceleration=cell[1],
        **figures,
        certified=tuple(n for n in figures["psnr"] if passed(fitted, n)),
        redundancy=fitted.redundancy.get(cell),
        n_train=n_train,
        n_audit=fitted.n_images,
        n_patients=n_patients,
        rounds=rounds,
    )


def exact_figures(plan: Plan, scores: Scores) -> dict[str, Any]:
    """The fields of a row that exact scores say."""
    quality = {n: q for n, q in scores.quality.items() if base_name(n) in plan.evaluation.attacks}
    psnr = {name: q.estimate("psnr") for name, q in quality.items()}
    floors = {"prior": _best(scores, FLOORS), "answer": _best(scores, DIAGNOSES)}
    gains = {name: _gain(quality, floor) for name, floor in floors.items()}
    return {
        "figures": plan.task.estimates(scores.task),
        "psnr": _defined(psnr, "value"),
        "psnr_low": _defined(psnr, "low"),
        "psnr_high": _defined(psnr, "high"),
        "psnr_groups": max((found.n_groups or 0 for found in psnr.values()), default=None),
        "psnr_of_mean_mse": {name: q.psnr_of_mean_mse for name, q in quality.items()},
        "ssim": {name: q.mean("ssim") for name, q in quality.items()},
        "nmse": {name: q.mean("nmse") for name, q in quality.items()},
        **{f"psnr_{n}": None if f is None else f.mean("psnr") for n, f in floors.items()},
        "gain_low": _defined(gains, "low"),
        "gain_high": _defined(gains, "high"),
        **held_out_figures(plan, scores),
    }


def _best(scores: Scores, names: Iterable[str]) -> ImageQuality | None:
    """That floor of ``names`` which has the highest PSNR."""
    there = [scores.quality[name] for name in names if name in scores.quality]
    return max(there, key=lambda quality: quality.mean("psnr"), default=None)


def _gain(attacks: Mapping[str, ImageQuality], floor: ImageQuality | None) -> Estimate:
    """The strongest attack's PSNR less the floor's, paired by groups of patients."""
    if floor is None or not attacks:
        return Estimate(None)
    worst = max(attacks, key=lambda name: (attacks[name].mean("psnr"), name))
    return floor.difference(attacks[worst], "psnr")


def held_out_figures(plan: Plan, scores: Scores) -> dict[str, Any]:
    """Of these, what under noise is measured on the study centre's own patients."""
    return {**legibility_figures(plan, scores), **linkage_figures(scores.linkage)}


def legibility_figures(plan: Plan, scores: Scores) -> dict[str, Any]:
    """The row's fields on what a reader of full images makes of each attack's images."""
    task, first = plan.task, plan.task.figures[0].name
    found = {name: task.estimates(read)[first] for name, read in scores.legibility.items()}
    return {
        "legibility": _defined(found, "value"),
        "legibility_low": _defined(found, "low"),
        "legibility_high": _defined(found, "high"),
    }


def _defined(found: Mapping[str, Estimate], part: str) -> dict[str, float]:
    """One part of each estimate that has it."""
    parts = {name: getattr(estimate, part) for name, estimate in found.items()}
    return {name: value for name, value in parts.items() if value is not None}


def passed(fitted: FittedAudit, name: str) -> bool:
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
    task: Task, site: str, n_patients: int, figures: Mapping[Cell, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A site's own figures: the task's first with its interval, and PSNR of the attacks, as JSON
    values. They exist only for sites that let scores of their minimum cohort leave."""
    for (arm, acceleration), found in figures.items():
        place = {"site": site, "arm": arm, "acceleration": acceleration}
        own = flat(task.figures[:1], found["figures"])
        groups = own.pop(f"{task.figures[0].name}_groups", None)
        own["psnr"] = found["psnr"]
        yield {**place, "n_patients": n_patients, **own, "groups": groups}


def _read(task: NoiseTask | None, reply: EvaluateReply) -> NoisedScores:
    if task is None:
        raise ValueError("sums of a study without noise")
    return task.read(reply)
