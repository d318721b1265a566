"""Regression, the second task: one file and one entry, and everything else asks it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import tomli_w
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dashboard.figures.frontier import frontier
from dashboard.tables import frontier_table
from fl_server.cli import app
from fl_server.inference.mlflow_model import Diagnoser
from fl_server.inference.register import figures as registered
from fl_server.inference.trained_arm import open_arm
from infomri_core.data import open_dataset
from infomri_core.inference.inference import ArmQuery
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.results.frontier import Row, read_results
from infomri_core.results.metric_names import metrics_of, rows_of
from infomri_core.results.table import table
from infomri_core.site.site import open_site
from infomri_core.summaries.groups import SLOTS
from infomri_core.system.errors import InputError, Refused
from infomri_core.tasks.number import NumberSummary
from infomri_core.tasks.regression import Regression
from infomri_core.tasks.task import UNIT
from tests.support.securesites import federation
from tests.support.small import AUDIT_URI, SilentTracker, local_sites, site_uri, small_table, study

TASK = Regression((32, 32), "oedema", scale=0.05)
shares = st.floats(0, 1)


def plan_of(**sections: Any) -> Plan:
    made = small_table(rounds=1, local_steps=2)
    made["task"] = {"kind": "regression", "outline": "oedema", "shape": [32, 32], "scale": 0.05}
    return parse_plan(tomli_w.dumps(made | sections))


@given(st.lists(st.tuples(shares, shares), min_size=2, max_size=30), st.randoms())
@settings(max_examples=50, deadline=None)
def test_merged_groups_give_the_figures_of_all_slices(pairs: list, chance: Any) -> None:
    evidence = np.array(pairs)
    slots = np.array([chance.randrange(SLOTS) for _ in pairs])
    half = len(pairs) // 2
    parts = [
        TASK.summarise(evidence[rows], slots[rows]) for rows in (slice(half), slice(half, None))
    ]
    merged = parts[0].merge(NumberSummary.from_arrays(parts[1].to_arrays()))
    found, truth = evidence.T
    figures = TASK.estimates(merged)
    assert figures["mae"].value == pytest.approx(np.abs(found - truth).mean(), abs=1e-9)
    spread = ((truth - truth.mean()) ** 2).mean()
    if spread > 1e-6:
        expected = 1 - ((found - truth) ** 2).mean() / spread
        assert figures["r2"].value == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=12), st.floats(0.01, 1))
@settings(max_examples=50, deadline=None)
def test_a_patient_moves_each_block_by_no_more_than_one(pairs: list, reach: float) -> None:
    mass = np.full(len(pairs), UNIT // len(pairs))
    sums = TASK.bounded(np.array(pairs), mass, np.array([0.3, reach, reach]))
    families = TASK.families()
    assert {name: part.shape for name, part in sums.items()} == {
        name: family.shape for name, family in families.items()
    }
    for name, part in sums.items():
        blocks = part.reshape(families[name].n_blocks, -1)
        assert (np.linalg.norm(blocks, axis=1) <= UNIT).all()


def test_without_noise_and_clipping_both_ways_of_leaving_say_the_same() -> None:
    draw = np.random.default_rng(4)
    truth = draw.uniform(0, 0.05, 300)
    evidence = np.stack((np.clip(truth + draw.normal(0, 0.008, 300), 0, 1), truth), axis=1)
    exact = TASK.estimates(TASK.summarise(evidence, np.arange(300) % SLOTS))
    reference = np.array([truth.mean(), 0.1, 0.1])
    sums = TASK.bounded(evidence, np.full(300, UNIT), reference)
    patients = {name: part[None] / UNIT for name, part in sums.items()}
    none = dict.fromkeys(sums, 0.0)
    noised = TASK.noised_estimates(patients, none, 0, (300.0, 0.0), reference)
    for name in ("r2", "mae"):
        assert noised[name].value == pytest.approx(exact[name].value, abs=1e-4)
        assert noised[name].low < noised[name].value < noised[name].high
    loud = dict.fromkeys(sums, 1e6)
    assert "r2" not in TASK.noised_estimates(patients, loud, 0, (300.0, 0.0), reference)


def test_evidence_is_finite_whatever_the_network_gives() -> None:
    output = torch.tensor([[float("nan")], [float("inf")], [-float("inf")], [1e30]])
    assert TASK.evidence(output, torch.zeros(4, 1))[:, 0].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_the_outline_is_what_the_finding_changes_in_the_phantom() -> None:
    data = open_dataset(AUDIT_URI)
    rows = np.arange(len(data))
    areas = TASK.targets(data, rows)[:, 0]
    with_it = torch.from_numpy(data.table.labels[:, data.table.label_names.index("oedema")] > 0)
    assert with_it.any() and (areas[with_it] > 0).all() and not areas[~with_it].any()
    unknown = replace(TASK, outline="fracture").mismatch(data)
    assert unknown is not None and "oedema" in str(unknown.got)


def test_a_plan_says_what_is_wrong_with_its_task(tmp_path: Path) -> None:
    for task, word in (
        ({"kind": "regression", "shape": [32, 32]}, "outline"),
        ({"kind": "regression", "outline": "oedema", "shape": [32, 32], "scale": 0.0}, "scale"),
        ({"kind": "regresion", "outline": "oedema", "shape": [32, 32]}, "regression"),
    ):
        with pytest.raises(InputError, match=word):
            plan_of(task=task)
    task = {"kind": "regression", "outline": "fracture", "shape": [32, 32]}
    site = open_site(open_dataset(site_uri("a")), "a", tmp_path, "cpu")
    with pytest.raises(Refused, match="outlines fracture"):
        site.enrol(plan_of(task=task))


def test_exact_scores_leave_in_groups_with_intervals(tmp_path: Path) -> None:
    plan = plan_of(evaluation={"attacks": ["lmmse"], "attack_slices": 1, "noise": False})
    rows = study(plan, local_sites(tmp_path), tmp_path).run()
    assert rows and all({"r2", "mae"} <= set(row.figures) for row in rows)
    assert all(row.utility.n_groups and row.legibility for row in rows)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row], str]:
    """A federation of four vaults under DP-SGD, secure aggregation and noise, over its real
    courier: the run's folder, its rows, and what went out and came back in words."""
    folder = tmp_path_factory.mktemp("regression")
    training = {"rounds": 1, "local_steps": 2, "batch_size": 8, "quorum": 3}
    plan = plan_of(
        training=training | {"deadline_seconds": 600.0},
        aggregation={"secure": True},
        privacy={"noise_multiplier": 0.5, "rate": 0.3, "lot": 4, "losses": True},
        evaluation={"attacks": ["lmmse", "cnn"], "attack_slices": 1, "epsilon": 1000.0},
    )
    with federation(folder / "sites", plan) as made:
        for name in made.names:
            data = open_dataset(site_uri(name))
            made.drawn[name] = open_site(
                data, name, folder / name, "cpu", f"the whole secret of site {name}"
            )
            made.drawn[name].table = data.table
            made.start(name)
        rows = study(plan, made.sites, folder, SilentTracker()).run()
        kinds = made.kinds(made.names[0])
    return folder / "run", rows, " ".join(kinds)


def test_it_is_trained_federated_private_and_masked(finished: tuple[Path, list[Row], str]) -> None:
    directory, rows, kinds = finished
    assert "masked" in kinds and "trained" not in kinds
    learned = [row for row in rows if row.suppression == "marginal"]
    assert len(learned) == 2 and all(row.beta > 0 for row in learned)
    assert all(row.epsilon and row.task == "regression" for row in rows)
    again, meta = read_results(directory / "results.json")
    assert again == rows and set(meta["rounds"][0]["losses"][rows[0].arm]) == {"mse", "entropy"}


def test_it_is_audited_and_read_by_its_own_figures(finished: tuple[Path, list[Row], str]) -> None:
    directory, rows, _ = finished
    for row in rows:
        assert {"r2", "mae"} <= set(row.figures) and row.utility.low < row.utility.high
        assert row.psnr and row.psnr_answer is not None
        assert rows_of(replace(row, figures={}), metrics_of(row))[0].figures.keys() == {
            "r2",
            "mae",
        }
        assert f"r2/{row.acceleration:g}x" in registered(row.arm, rows)
    drawn = frontier([row for row in rows if row.acceleration == rows[0].acceleration])
    assert isinstance(drawn, go.Figure) and drawn.layout.yaxis.title.text.startswith("R²")
    assert {"R²", "mean error"} <= set(frontier_table(rows, *_axes(rows), "worst").columns)
    printed = table(rows).csv()
    assert "R²" in printed and "AUROC" not in printed
    report = (directory / "privacy-report.html").read_text(encoding="utf-8")
    assert "R²" in report and "AUROC (95 %)" not in report


def test_its_arm_measures_a_scan(finished: tuple[Path, list[Row], str], tmp_path: Path) -> None:
    directory, rows, _ = finished
    scan = tmp_path / "scan.npy"
    np.save(scan, open_dataset(AUDIT_URI).images(np.arange(3)).numpy())
    words = ["diagnose", str(scan), "--model", str(directory), "--arm", rows[0].arm]
    done = CliRunner().invoke(app, [*words, "--acceleration", "4", "--draws", "2"])
    assert done.exit_code == 0, done.output
    header = next(line for line in done.output.splitlines() if line.startswith("input"))
    assert "value_area of oedema,sd_area of oedema" in header
    trained = open_arm(directory, ArmQuery(rows[0].arm))
    pandas = pytest.importorskip("pandas")
    images = open_dataset(AUDIT_URI).images(np.arange(2)).numpy()
    asked = pandas.DataFrame({"image": [image.tolist() for image in images]})
    assert list(Diagnoser(trained).predict(asked).columns) == ["area of oedema"]


def _axes(rows: list[Row]) -> tuple[Any, Any]:
    from dashboard.axes import PSNR, utility_axes

    return PSNR, utility_axes(rows)[0]
