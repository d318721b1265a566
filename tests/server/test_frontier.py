"""Rows of the frontier: derived figures, Pareto front, files, metrics, table."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from infomri_core.results.frontier import (
    Row,
    attacks,
    from_json,
    label,
    pareto,
    read_results,
    to_json,
    write_results,
)
from infomri_core.results.metric_names import metrics_of, rows_of
from infomri_core.results.table import print_frontier
from infomri_core.system.errors import InputError
from tests.support.rows import changed, row_of

FIRST = row_of(
    arm="infomri-marginal-b0.001-s0",
    sampler="infomri",
    beta=0.001,
    seed=0,
    acceleration=32.0,
    suppression="marginal",
    auroc=0.91,
    auroc_low=0.85,
    auroc_high=0.96,
    accuracy=0.88,
    psnr={"lmmse": 15.5, "cnn": 13.1, "unet": 16.25},
    psnr_low={"lmmse": 15.1, "cnn": 12.9, "unet": 16.0},
    psnr_high={"lmmse": 15.9, "cnn": 13.4, "unet": 16.5},
    psnr_of_mean_mse={"lmmse": 15.2, "cnn": 12.8, "unet": 15.9},
    ssim={"lmmse": 0.4, "cnn": 0.3, "unet": 0.45},
    nmse={"lmmse": 0.2, "cnn": 0.3, "unet": 0.19},
    certified=("lmmse", "unet"),
    psnr_prior=13.0,
    psnr_answer=13.4,
    redundancy=0.02,
    n_train=960,
    n_audit=240,
    n_patients=60,
    rounds=4,
)
OUTLINED = Row(
    *("infomri-s0", "infomri", 0.0, 0, 8.0),
    task="segmentation",
    psnr={"lmmse": 20.0},
    psnr_answer=16.5,
    gain_low={"prior": 4.0, "answer": 3.0},
    gain_high={"prior": 5.0, "answer": 4.0},
)
UNDEFINED = Row("uniform-s0", "uniform", 0.0, 0, 32.0)


def test_the_floor_of_the_answer_is_called_by_what_the_task_answers():
    values = to_json(OUTLINED)
    assert values["psnr_segmentation"] == 16.5 and values["psnr_gain_segmentation"] == 3.5
    assert values["gain_low"] == {"prior": 4.0, "segmentation": 3.0}
    metrics = metrics_of(OUTLINED)
    assert metrics["psnr_segmentation/8x"] == 16.5
    assert metrics["gain_low/segmentation/8x"] == 3.0
    assert not any("diagnosis" in name for name in (*values, *metrics))
    assert from_json(values) == OUTLINED == rows_of(replace(OUTLINED, psnr={}), metrics)[0]
    older = {"psnr_diagnosis": 16.5, "gain_low": {"diagnosis": 3.0}, "gain_high": {}}
    renamed = {name: value for name, value in values.items() if "segmentation" not in name}
    found = from_json({**renamed, **older, "task": "segmentation"})
    assert found.psnr_answer == 16.5 and found.gain("answer").low == 3.0


figure = st.none() | st.floats(0.0, 1.0)
decibel = st.floats(1.0, 40.0)
rows = st.builds(
    row_of,
    arm=st.sampled_from(["a", "b", "c"]),
    sampler=st.just("infomri"),
    beta=st.floats(0, 1),
    seed=st.integers(0, 3),
    acceleration=st.sampled_from([8.0, 32.0, 12.5]),
    auroc=figure,
    psnr=st.dictionaries(st.sampled_from(["lmmse", "cnn"]), decibel),
    psnr_prior=st.none() | decibel,
    n_train=st.integers(0, 10**6),
)


@given(rows)
def test_the_strongest_attack_is_the_one_that_rebuilds_best(row: Row):
    if not row.psnr:
        assert row.worst_attack is row.psnr_worst is row.psnr_gain is None
        return
    assert row.psnr_worst == max(row.psnr.values()) == row.psnr[row.worst_attack]
    if row.psnr_prior is not None:
        assert row.psnr_gain == row.psnr_worst - row.psnr_prior


@given(rows)
def test_json_and_metrics_lose_nothing(row: Row):
    assert from_json(json.loads(json.dumps(to_json(row)))) == row
    if metrics_of(row).keys() - {"n_train", "n_audit"}:
        arm = Row(row.arm, row.sampler, row.beta, row.seed, 0.0)
        names = metrics_of(row)
        assert rows_of(arm, {**names, "train/ce": 1.0, "phase_seconds/train": 3.0}) == [row]


def test_a_full_row_survives_the_tracking_store():
    arm = Row(FIRST.arm, "infomri", 0.001, 0, 0.0, "marginal", rounds=4)
    other = replace(FIRST, acceleration=16.0, psnr={"lmmse": 19.0}, certified=("lmmse",))
    names = metrics_of(FIRST)
    assert names["psnr/unet/32x"] == names["psnr_worst/32x"] == 16.25
    assert names["psnr_gain/32x"] == 3.25
    assert names["auroc/32x"] == 0.91
    found = rows_of(arm, names | metrics_of(other))
    assert [row.acceleration for row in found] == [16.0, 32.0]
    assert found[1] == FIRST


@given(st.lists(rows, max_size=12))
def test_the_pareto_front_is_beaten_by_none_and_beats_or_ties_the_rest(some: list[Row]):
    front = pareto(some)
    measured = [r for r in some if r.utility.value is not None and r.psnr]

    def beats(a: Row, b: Row) -> bool:
        better = a.utility.value > b.utility.value or a.psnr_worst < b.psnr_worst
        return a.utility.value >= b.utility.value and a.psnr_worst <= b.psnr_worst and better

    assert all(not beats(a, b) for a in measured for b in front)
    assert all(r in front or any(beats(a, r) for a in front) for r in measured)


def test_results_are_strict_json_in_which_undefined_is_null(tmp_path: Path):
    path = tmp_path / "results.json"
    odd = changed(UNDEFINED, auroc=float("nan"), psnr={"lmmse": 14.0})
    write_results(path, [FIRST, odd], {"study": "knee", "seconds": float("inf")})
    content = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    first, second = content["rows"]
    assert first["psnr_gain"] == first["psnr_worst"] - first["psnr_prior"]
    assert first["psnr"] == {"lmmse": 15.5, "cnn": 13.1, "unet": 16.25}
    assert first["worst_attack"] == "unet"
    assert second["auroc"] is None
    assert second["psnr_gain"] is None
    back, meta = read_results(path)
    assert back == [FIRST, changed(odd, auroc=None)]
    assert meta == {"study": "knee", "seconds": None}


@pytest.mark.parametrize("content", ["", "{}", '{"rows": [1], "meta": {}}', "[]"])
def test_a_file_that_is_no_results_file_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"results\.json of a study"):
        read_results(path)


def test_labels_tell_arms_apart_and_stay_short():
    seeds = [replace(FIRST, arm="a-s0"), replace(FIRST, arm="a-s1", seed=1), UNDEFINED]
    assert [label(row, seeds) for row in seeds] == [
        "InfoMRI β=0.001, seed 0",
        "InfoMRI β=0.001, seed 1",
        "uniform",
    ]
    density = Row("variable-density-e4-s0", "variable-density", 0.0, 0, 32.0)
    other = replace(density, arm="variable-density-e8-s0")
    assert label(density, [density]) == "variable density"
    assert label(density, [density, other]) == "variable-density-e4-s0"


def test_the_table_fits_120_columns_and_explains_itself():
    density = Row("variable-density-e4-s0", "variable-density", 0.0, 0, 32.0)
    shown = [FIRST, replace(UNDEFINED, psnr={"lmmse": 14.0}), density]
    shown.append(replace(density, arm="variable-density-e8-s0"))
    console = Console(width=120, file=StringIO(), force_terminal=True, color_system=None)
    print_frontier(console, shown, {"study": "knee"})
    text = console.file.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 120
    assert "…" not in text
    for part in ("0.910 (0.850-0.960)", "16.2", "+3.2", "13.1*", "undefined", "240", "the floor"):
        assert part in text
    assert attacks(shown) == ["lmmse", "cnn", "unet"]
