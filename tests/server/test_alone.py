"""Arms that each site trains by itself, and in one place: beside the federated ones, and judged
as they are, while their weights stay where they were made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch

from fl_server.settings import Central
from fl_server.study.evaluation.central import of_one_place
from fl_server.study.study import Study
from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.data import open_dataset
from infomri_core.messages import EvaluateReply, EvaluateTask, TrainReply, TrainTask
from infomri_core.plan.alone import alone_arms, n_trained
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.results.arm_names import alone_name, central_name, federated_name
from infomri_core.results.frontier import ALONE, CENTRAL, FEDERATED, Row, label, pareto
from infomri_core.results.operating_point import operating_point
from infomri_core.results.table import table
from infomri_core.results.trainings import sentence, trainings
from infomri_core.score_noise.mechanism import form_of
from infomri_core.score_noise.noised_scores import NoisedScores
from infomri_core.site.site import Site
from infomri_core.system.errors import InputError
from infomri_core.training.optimizer_store import OptimizerStore
from tests.support import small

NAMES = ("a", "b")


def plan_of(**evaluation: Any) -> Plan:
    written = small.small_table(rounds=2)
    written["evaluation"] = {"attacks": ["lmmse"], "attack_slices": 1, **evaluation}
    written["arms"][0]["alone"] = True
    return parse_plan(tomli_w.dumps(written))


def run(plan: Plan, directory: Path, names: tuple[str, ...], pooled: tuple[str, ...] = ()) -> Any:
    """The rows, and every reply that the sites gave."""
    sites, replies = small.local_sites(directory, names), []
    asked = sites.ask

    def ask(task: Any, nodes: Any) -> Any:
        for node, reply in asked(task, nodes):
            replies.append(reply)
            yield node, reply

    sites.ask = ask
    centre = replace(small.settings(directory), central=Central(pooled))
    place = (open_dataset(small.AUDIT_URI), directory / "run", small.SilentTracker())
    rows = Study(plan, centre, sites, *place, torch.device("cpu")).run()
    return rows, replies


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("two")
    # Patients of the pool are then not in alphabetical order, as a hospital's may not be.
    uris = tuple(small.site_uri(name) for name in reversed(NAMES))
    rows, replies = run(plan_of(noise=False), directory, NAMES, uris)
    return rows, replies, directory


def of(rows: list[Row], training: str) -> list[Row]:
    return [row for row in rows if row.training == training]


def weights(plan: Plan, folder: Path) -> np.ndarray:
    name = alone_name(plan.arms[0].name)
    kept = OptimizerStore(folder).load(plan.digest, f"{name}.weights", plan.training.rounds)
    assert kept is not None
    return kept["weights"]


def test_a_federation_of_one_site_is_that_site_alone(tmp_path: Path) -> None:
    plan = plan_of(noise=False)
    rows, replies = run(plan, tmp_path, ("a",))
    federated = [r for r in of(rows, FEDERATED) if r.arm == plan.arms[0].name]
    for alone, row in zip(of(rows, ALONE), federated, strict=True):
        assert alone.acceleration == row.acceleration
        # The mean of one site is rounded to 2^-24: a point of a mask, a pair of slices may change.
        assert alone.utility.value == pytest.approx(row.utility.value, abs=0.06)
    last = [r for r in replies if isinstance(r, TrainReply)][-1]
    mean = last.arms[plan.arms[0].name]
    assert np.abs(weights(plan, tmp_path / "a") - mean).mean() < 1e-4


def test_each_site_ends_with_weights_of_its_own_and_sends_none_of_them(two: Any) -> None:
    _, replies, directory = two
    plan = plan_of(noise=False)
    a, b = (weights(plan, directory / name) for name in NAMES)
    assert not np.array_equal(a, b)
    named = {name for r in replies if isinstance(r, TrainReply) for name in r.arms}
    assert named == {arm.name for arm in plan.arms}
    assert not any(
        np.array_equal(flat, own)
        for r in replies
        if isinstance(r, TrainReply)
        for flat in r.arms.values()
        for own in (a, b)
    )


def test_they_are_scored_as_arms_are_and_nobody_attacks_them(two: Any) -> None:
    rows, replies, _ = two
    alone = of(rows, ALONE)
    assert [row.acceleration for row in alone] == [4.0, 8.0]
    assert all(row.utility.value is not None and not row.psnr for row in alone)
    told = [r for r in replies if isinstance(r, EvaluateReply)]
    cells = {(alone_name(plan_of().arms[0].name), a) for a in (4.0, 8.0)}
    assert told and all(cells <= set(r.scores) for r in told)
    assert all(not r.scores[cell].quality for r in told for cell in cells)


def test_the_central_model_is_attacked_and_has_no_place_among_the_studys_own(two: Any) -> None:
    """LMMSE needs no fitting to a mask; what federated answers give away is no floor of it."""
    rows, _, _ = two
    own, central = of(rows, FEDERATED), of(rows, CENTRAL)
    assert [set(row.psnr) for row in central] == [{"lmmse"}] * 2
    for row in central:
        (beside,) = (
            r for r in own if row.arm == central_name(r.arm) and row.acceleration == r.acceleration
        )
        assert row.n_audit == beside.n_audit > 0 and row.certified == beside.certified
        assert row.psnr_prior == pytest.approx(beside.psnr_prior, abs=0.5)
        assert abs(row.psnr["lmmse"] - beside.psnr["lmmse"]) < 6
        assert row.linkage_same_rank1 == beside.linkage_same_rank1 == 1.0
        assert row.psnr_answer is None or beside.psnr_answer is not None
    private = [replace(row, psnr={"lmmse": 1.0}) for row in central]
    assert pareto([*own, *private]) == pareto(own)
    assert operating_point([*own, *private]) == operating_point(own)


def test_all_three_trainings_of_an_arm_stand_beside_each_other(two: Any) -> None:
    rows, _, directory = two
    found = trainings(rows)
    assert [set(c.rows) for c in found] == [{ALONE, FEDERATED, CENTRAL}] * 2
    central = found[0].rows[CENTRAL]
    assert central.arm == central_name(found[0].federated.arm)
    assert central.n_patients == found[0].federated.n_patients
    assert label(central, rows) == f"{label(found[0].federated, rows)}, central"
    said = sentence(rows)
    for row in found[0].rows.values():
        assert f"{row.utility.value:.3f}" in said
    assert said in table(rows).caption and "fitted on 26 audit slices" in table(rows).caption
    report = (directory / "run" / "privacy-report.html").read_text()
    assert "What federation is worth" in report and "each site alone" in report


def test_what_is_trained_in_one_place_takes_the_steps_of_all_sites() -> None:
    plan = plan_of()
    one = of_one_place(plan, plan.arms[0], 3)
    assert one.total_steps == 3 * plan.total_steps
    assert n_trained(one) == 1 and not alone_arms(one) and one.text == plan.text


def test_a_site_that_trains_twice_is_charged_twice() -> None:
    plan = plan_of()
    assert n_trained(plan) == len(plan.arms) + 1
    assert n_trained(plan, [plan.arms[1].name]) == 1


def test_masks_hide_what_exact_scores_of_one_site_would_say() -> None:
    written = small.small_table(quorum=3)
    written["arms"][0]["alone"] = True
    written["aggregation"] = {"secure": True}
    parse_plan(tomli_w.dumps(written))
    written["evaluation"]["noise"] = False
    with pytest.raises(InputError, match="alone"):
        parse_plan(tomli_w.dumps(written))


def test_under_noise_they_stand_in_the_same_vector_as_the_arms(tmp_path: Path) -> None:
    plan = plan_of()
    site = Site(open_dataset(small.site_uri("a")), "a", tmp_path / "a")
    variance = np.ones((2, 32, 32), np.float32)
    arms = {a.name: flatten(build_model(plan, a, torch.from_numpy(variance))) for a in plan.arms}
    one_round = replace(plan, training=replace(plan.training, rounds=1))
    arms = site.train(one_round, TrainTask(plan.text, 1, 0.0, variance, arms), lambda: False).arms
    form = form_of(plan, arms, ())
    assert len(form.cells) == 4 and len(form.alone) == 2 and form.n_quality == 0
    reference = np.stack([plan.task.reference(None)] * len(form.scored))
    task = EvaluateTask(plan.text, 1, 0.0, arms, {}, reference=reference, expected=np.zeros(0))
    reply = site.evaluate(one_round, task, lambda: False)
    assert {f: a.shape for f, a in reply.sums.items()} == form.shapes()
    told = NoisedScores.of(form, reply.sums, 0.0)
    for cell in form.alone:
        own = told.figures(cell, reference)
        assert own == told.figures((federated_name(cell[0]), cell[1]), reference)
        assert own["auroc"].value is not None and told.psnr(cell, task.expected, 4.0) == {}
