"""Linkage on its way out of a site, and into the rows of a study."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from fl_server.study.evaluation.results import linkage_figures
from infomri_core.arms.build import build_model
from infomri_core.attacks.linkage import Likeness
from infomri_core.audit.adversaries import LINKAGE, Adversaries
from infomri_core.data import open_dataset
from infomri_core.messages import EvaluateReply, EvaluateTask
from infomri_core.site.evaluate import Scoring
from infomri_core.summaries.groups import SLOTS, partition
from infomri_core.summaries.linkage_summary import LinkageSummary
from tests.client.test_gate import SITE, held_back, through
from tests.support.small import AUDIT_URI, small_plan
from tests.support.vault_fakes import evaluate_task


def _linkage(n: int = 10, n_other: int = 3) -> LinkageSummary:
    figures = np.full((n, 2, 2), 0.123456)
    figures[n_other:, 1] = np.nan
    return LinkageSummary.from_matches(figures, np.full(n, 2 * n - 1), np.arange(n) % 2)


def _asked(linkage: LinkageSummary, ask: bool = True) -> tuple[EvaluateReply, EvaluateTask]:
    task = evaluate_task()
    reply = SITE.evaluated(task)
    scores = {c: dataclasses.replace(s, linkage=linkage) for c, s in reply.scores.items()}
    if ask:
        likeness = {name: np.zeros((8, 8), np.float32) for name in ("mean", "keep", "residual")}
        task = dataclasses.replace(task, attacks={**task.attacks, LINKAGE: likeness})
    return dataclasses.replace(reply, scores=scores), task


def test_linkage_leaves_coarse_and_never_of_fewer_patients_than_the_cohort(
    tmp_path: Path,
) -> None:
    left = through(tmp_path, *_asked(_linkage()), min_cohort=5, round_to=4)
    (linkage, *_) = (scores.linkage for scores in left.scores.values())
    assert linkage.value("same", "rank1") == 0.12
    assert linkage.weight.sum(0).tolist() == [8, 0]
    assert linkage.value("other", "rank1") is None
    assert not linkage.sums[:, 1].any()


def test_linkage_that_nobody_asked_for_never_leaves(tmp_path: Path) -> None:
    held_back(tmp_path, *_asked(_linkage(), ask=False))


def test_linkage_of_other_groups_or_of_more_patients_than_they_have_never_leaves(
    tmp_path: Path,
) -> None:
    linkage = _linkage()
    short = LinkageSummary(*(array[:3] for array in linkage.to_arrays().values()))
    held_back(tmp_path, *_asked(short))
    held_back(tmp_path, *_asked(dataclasses.replace(linkage, weight=linkage.weight + 1)))


def test_linkage_leaves_in_groups_of_the_cohort_by_the_patients_matched(tmp_path: Path) -> None:
    left = through(tmp_path, *_asked(_linkage(n_other=7)), min_cohort=5, round_to=5)
    (linkage, *_) = (scores.linkage for scores in left.scores.values())
    assert linkage.weight[:2].tolist() == [[5, 5], [5, 0]], "seven are one group, of two groups"


def test_a_site_that_was_not_matched_changes_no_figure() -> None:
    scores = next(iter(_asked(_linkage())[0].scores.values()))
    bare = dataclasses.replace(scores, linkage=None)
    for merged in (scores.merge(bare), bare.merge(scores)):
        assert linkage_figures(merged.linkage) == linkage_figures(scores.linkage)
    assert linkage_figures(None) == {}


def test_more_k_space_links_better_and_the_very_scan_best() -> None:
    plan = small_plan()
    arm = next(arm for arm in plan.arms if arm.sampler == "uniform")
    data = open_dataset(AUDIT_URI)
    images = data.images(np.arange(len(data)))
    known = Adversaries(likeness=Likeness.fit(images, data.table.patients))
    slots = partition(data.table.patients, "key", 2)
    linkage = {}

    def fetch(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return images[rows], plan.task.targets(data, rows)

    for acceleration in (4.0, 64.0):
        scoring = Scoring(plan, data.table, fetch, known, slots, ("linkage",))
        scores = scoring.score(build_model(plan, arm), arm, acceleration)
        linkage[acceleration] = scores.linkage
    assert linkage[4.0].candidates() == 31
    assert linkage[4.0].value("same", "rank1") == 1
    assert linkage[4.0].value("other", "auc") > 0.5
    assert linkage[4.0].value("other", "auc") > linkage[64.0].value("other", "auc") - 0.1
    found = linkage[64.0].estimate("other", "auc")
    assert found.low <= found.value <= found.high
    assert found.n_groups is not None and 2 <= found.n_groups <= SLOTS
