"""What the pages compute: operating points, sites out of events, masks, and a scan's trial."""

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from dashboard import tables
from dashboard.axes import (
    EPSILON,
    GAIN,
    PRIVACY,
    PSNR,
    SSIM,
    WORST,
    defined,
    front,
    place,
    utility_axes,
)
from dashboard.figures import attack_plots, curves, kspace_plots, site_plots
from dashboard.operating import default_least, suggest
from dashboard.reading import single_scan, sites, trained_study
from dashboard.reading.record import parse_events, parse_results
from dashboard.reading.runs import Curve
from dashboard.reading.trained_study import TrainedStudy
from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.attacks import registry as attacks
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.inference.scans import Scan
from infomri_core.physics.entropy import marginal_entropy
from infomri_core.results.frontier import Row, to_json
from infomri_core.results.study_file import StudyFile
from infomri_core.system.errors import InputError
from tests.support.old_results import write_old_results
from tests.support.rows import changed
from tests.support.trained_runs import DROPPED, LABELS, SHAPE, make_images, make_plan

BASE = Row("", "infomri", 0.0, 0, 16.0, psnr_prior=12.0, psnr_answer=13.0)
ROWS = [
    changed(BASE, arm="a", auroc=0.95, auroc_low=0.92, psnr={"cnn": 20.0, "tv": 18.0}),
    changed(BASE, arm="b", auroc=0.93, beta=1.0, psnr={"cnn": 15.0}, certified=("cnn",)),
    changed(BASE, arm="c", sampler="uniform", auroc=0.70, psnr={"cnn": 15.5}, epsilon=2.0),
]
AUROC = utility_axes(ROWS)[0]


def event(name: str, site: str, phase: str, number: int, **facts: object) -> dict:
    return (
        {"event": name, "site": site, "phase": phase, "round": number, "time": 5.0 + number}
        | {
            "seconds": 2.0,
            "bytes_in": 10,
            "bytes_out": 20,
        }
        | facts
    )


EVENTS = [
    event("answer", "north", "enrol", 0, n_patients=40),
    event("answer", "south", "enrol", 0, n_patients=30),
    event("answer", "north", "train", 1, n_samples=90, epsilon=0.5),
    event("silent", "south", "train", 1),
    event("answer", "north", "train", 2, n_samples=90, epsilon=0.7),
    event("answer", "south", "train", 2, refused="budget: spent"),
    event("answer", "north", "train", 3, epsilon=0.8, budget=[2.5, 10.0]),
    {"event": "round", "time": 1.0},
]


@cache
def study() -> TrainedStudy:
    """Fresh weights of every arm but one, and an LMMSE attack fitted on eight images."""
    torch.set_num_threads(1)
    plan = make_plan()
    variance = np.random.default_rng(0).uniform(0.1, 1, (2, *SHAPE)).astype(np.float32)
    arms = {
        arm.name: flatten(build_model(plan, arm, torch.from_numpy(variance)))
        for arm in plan.arms
        if arm.name != DROPPED
    }
    images = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(1))
    attack = attacks.build("lmmse", SHAPE)
    policy = build_model(plan, plan.arms[0]).sampler
    attack.fit(AuditSet.of(images, policy, [0.25], 0.02, torch.Generator().manual_seed(2)))
    file = StudyFile(plan.text, 2, variance, arms, {"lmmse": attack.to_arrays()})
    return TrainedStudy.of(file.to_bytes())


def test_the_suggestion_is_the_most_private_arm_that_is_good_enough():
    points = place(ROWS, PSNR, AUROC, WORST)
    assert default_least(points, AUROC, WORST) == 0.92
    chosen = suggest(points, PSNR, AUROC, 0.92, WORST)
    assert chosen is not None
    assert (chosen.point.row.arm, chosen.best.row.arm) == ("b", "a")
    assert "costs 0.020 AUROC and lowers the attacker's PSNR by 5.0 dB" in chosen.price
    assert "2.0 dB better than the diagnosis alone" in chosen.price
    assert "may understate" not in chosen.price
    assert suggest(points, PSNR, AUROC, 0.99, WORST) is None
    strict = suggest(points, PSNR, AUROC, 0.94, WORST)
    assert strict is not None
    assert "reaches down to 0.920" in strict.price
    assert "'cnn' failed its own test" in strict.price


def test_the_front_holds_what_nobody_beats_on_any_pair_of_axes():
    assert [p.row.arm for p in front(place(ROWS, PSNR, AUROC, WORST))] == ["a", "b"]
    assert [p.x for p in place(ROWS, GAIN, AUROC, WORST)] == [8.0, 3.0, 3.5]
    assert [p.row.arm for p in place(ROWS, PSNR, AUROC, "tv")] == ["a"]
    assert EPSILON in defined(PRIVACY, ROWS)
    assert SSIM not in defined(PRIVACY, ROWS)


def test_a_sites_record_is_the_sum_of_its_answers():
    north, south = sites.sites_of(EVENTS)
    assert north.rounds == {1: "answered", 2: "answered", 3: "answered"}
    assert south.rounds == {1: "silent", 2: "refused", 3: "absent"}
    assert (north.epsilon, north.n_patients, north.n_samples) == (0.8, 40, 90)
    assert north.seconds == {"enrol": 2.0, "train": 6.0}
    assert (north.bytes_in["train"], north.bytes_out["train"]) == (30, 60)
    assert south.refused == "budget: spent"
    table = sites.table([north, south])
    assert list(table["rounds"]) == ["3 of 3", "0 of 3"]
    assert list(table["missed"]) == ["", "1, 2, 3"]
    assert list(table["all studies"]) == ["2.50 of 10", ""]
    assert table["budget used"][0] == 25 and np.isnan(table["budget used"][1])
    untold = [e | {"budget": None} for e in EVENTS]
    told = sites.table(sites.sites_of(untold))
    assert list(told["all studies"]) == ["not reported", ""] and "budget used" not in told
    drawn = {
        trace.name: list(zip(trace.y, trace.x)) for trace in site_plots.rounds([north, south]).data
    }
    assert drawn["was asked and did not answer"] == [("south", 1)]
    assert drawn["was not there"] == [("south", 3)]


def test_a_torn_line_of_events_is_skipped_and_other_results_are_none():
    assert parse_events(b'{"event": "x", "time": 1}\n{"event": "y", "ti') == [
        {"event": "x", "time": 1}
    ]
    assert parse_results(b"{}") is None


@pytest.mark.parametrize("arm", ["infomri-s0", "uniform-s0"])
def test_a_drawn_mask_has_the_ratios_points_and_its_entropy_is_the_arms(arm: str):
    drawn = trained_study.draw(study(), arm, 0.25, 3)
    n = SHAPE[0] * SHAPE[1]
    assert drawn.n_points == n // 4
    assert drawn.probability.mean() == pytest.approx(0.25, abs=1e-5)
    assert trained_study.draw(study(), arm, 0.25, 3).mask.tobytes() == drawn.mask.tobytes()
    assert trained_study.draw(study(), arm, 0.25, 4).mask.tobytes() != drawn.mask.tobytes()
    variance = torch.from_numpy(np.array(study().file.variance))
    mu = torch.from_numpy(drawn.probability)
    expected = marginal_entropy(mu, variance, 0.02) - marginal_entropy(mu, 0 * variance, 0.02)
    assert drawn.beyond_noise.sum() == pytest.approx(float(expected), rel=1e-4)


def test_downloads_hold_the_arrays():
    drawn = trained_study.draw(study(), "uniform-s0", 0.25, 0)
    assert np.array_equal(np.load(io.BytesIO(trained_study.npy(drawn.mask))), drawn.mask)
    back = np.loadtxt(io.BytesIO(trained_study.csv(drawn.probability)), delimiter=",")
    assert np.allclose(back, drawn.probability, rtol=1e-5)
    assert trained_study.csv(drawn.mask).split(b"\n")[0].count(b",") == SHAPE[1] - 1


def test_a_dropped_arm_is_not_offered():
    assert DROPPED not in study().arms
    assert len(study().arms) == 4


def test_a_trial_rebuilds_from_what_was_measured_and_says_how_sure_it_is():
    scan = Scan("x", make_images() / 400, 1.0, "")
    done = single_scan.run(study(), scan, 1, "uniform-s0", 4.0, "lmmse", 3, seed=0)
    assert done.mask.sum() == SHAPE[0] * SHAPE[1] // 4
    assert np.array_equal(done.truth, np.clip(scan.source[1] / 1.0, 0, 1))
    mse = np.square(done.rebuilt - done.truth).mean()
    assert done.psnr == pytest.approx(-10 * np.log10(mse), abs=1e-3)
    first, second = single_scan.answers(LABELS, done.diagnosis)
    assert (first["finding"], second["finding"]) == LABELS
    assert 0 <= first["probability"] <= 1
    assert first["± over draws"] >= 0
    with pytest.raises(InputError, match="acceleration"):
        single_scan.run(study(), scan, 1, "uniform-s0", 1000.0, "lmmse", 1, seed=0)
    with pytest.raises(InputError, match="square"):
        single_scan.phantom(study(), 0)


def test_pictures_are_whole_pixels():
    shown = single_scan.picture(np.array([[0.0, 1.0], [0.5, 2.0]]), 4)
    assert shown.shape == (4, 4)
    assert [int(v) for v in shown[::2, ::2].ravel()] == [0, 255, 128, 255]


def test_every_axis_has_a_title_with_its_unit():
    drawn = {"x": trained_study.draw(study(), "uniform-s0", 0.25, 0)}
    curve = Curve((1, 2), (0.5, 0.4), (1.0, 2.0))
    figures: list[go.Figure] = [
        kspace_plots.sampling(drawn),
        attack_plots.intervals(ROWS[0]),
        site_plots.rounds(sites.sites_of(EVENTS)),
        site_plots.phases(sites.sites_of(EVENTS), True),
        curves.by_round({"x": curve}, {"x": "infomri"}, "loss (nats)"),
        curves.over_time({"x": curve}, "share (%)"),
        curves.lines({"x": [(1, 2.0), (2, None), (3, 4.0)]}, "steps", "PSNR (dB)"),
    ]
    for figure in figures:
        assert any(axis.title.text for axis in figure.select_xaxes())
        assert any(axis.title.text for axis in figure.select_yaxes())
    weak = attack_plots.intervals(ROWS[0]).data
    assert {trace.name for trace in weak} >= {"weak: failed its own test"}


def test_tables_hold_a_line_an_attack_and_a_site():
    content = {"rows": [to_json(ROWS[0])], "meta": {}}
    results = parse_results(json.dumps(content).encode())
    assert results is not None
    table = tables.attack_table(results.rows)
    assert list(table["attack"]) == ["cnn", "tv"]
    assert list(table["beyond the floor"]) == [8.0, 6.0]
    meta = {"per_site": [{"site": "north", "arm": "a", "acceleration": 16.0, "auroc": 0.9}]}
    assert list(tables.site_scores(meta, ROWS)["site"]) == ["north"]
    assert tables.linkage_table(ROWS).empty


def test_differences_of_arms_are_shown_with_their_intervals():
    change = {"value": -0.02, "low": -0.05, "high": 0.01}
    item = {
        "first": [ROWS[0].arm, 16.0],
        "second": [ROWS[0].arm, 32.0],
        "how": "paired",
        "auroc": change,
        "psnr": {"value": None, "low": None, "high": None},
    }
    table = tables.difference_table({"differences": [item]}, ROWS)
    assert list(table["AUROC"]) == ["-0.020 (-0.050 to +0.010)"]
    assert list(table["strongest attack, dB"]) == ["-"]
    assert table["second"][0].endswith("at 32x")
    assert tables.difference_table({}, ROWS).empty


def test_results_of_an_older_version_are_shown_with_their_intervals_and_sites(
    tmp_path: Path,
) -> None:
    found = parse_results(write_old_results(tmp_path / "results.json").read_bytes())
    assert found is not None
    by_site = tables.site_scores(found.meta, found.rows)
    assert sorted(set(by_site["site"])) == ["north", "south"]
    assert "groups" not in by_site and (by_site["from"] < by_site["AUROC"]).all()
    assert len(tables.attack_table(found.rows)) >= 2
    assert list(tables.linkage_table(found.rows)["candidates"]) == [24.0, 24.0]
    assert len(tables.frontier_table(found.rows, PSNR, AUROC, WORST)) == 2
