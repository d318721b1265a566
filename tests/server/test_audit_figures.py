"""Figures of the audit: what is undefined is left out, equal input gives equal bytes."""

from pathlib import Path

import numpy as np

from fl_server.audit.examples import Examples, held_out_examples, shown_cell
from fl_server.report import audit_figures
from infomri_core.attacks.audit_set import folds
from infomri_core.data import open_dataset
from tests.support.rows import row_of
from tests.support.small import AUDIT_URI


def test_examples_show_the_truth_and_every_attack(tmp_path: Path):
    images = np.random.default_rng(0).random((2, 8, 8))
    shown = Examples("arm", 8.0, images, {"lmmse": images}, {"lmmse": np.array([17.3, 18.9])})
    texts = []
    for name in ("a", "b"):
        _, svg = audit_figures.examples(shown, tmp_path / name)
        texts.append(svg.read_text())
    assert texts[0] == texts[1]
    for part in ("truth", "lmmse", "17.3 dB", "18.9 dB", "arm at 8x"):
        assert part in texts[0]


def test_curves_leave_out_what_is_undefined(tmp_path: Path):
    histories = {"lmmse": [], "cnn": [(0, None, 10.0), (5, 0.1, 12.0)], "unet": [(0, None, None)]}
    _, svg = audit_figures.convergence(histories, tmp_path / "c")
    assert "cnn" in svg.read_text() and "unet" not in svg.read_text()
    assert audit_figures.convergence({"lmmse": []}, tmp_path / "none") == []
    assert audit_figures.size_curves({"cnn": {"passed": True}}, tmp_path / "none") == []
    sizes = {"lmmse": {"size_curve": [[10, 20.0], [40, 22.0]]}}
    assert len(audit_figures.size_curves(sizes, tmp_path / "sizes")) == 2


def test_examples_are_of_patients_no_attack_was_fitted_on():
    dataset = open_dataset(AUDIT_URI)
    kept, _ = folds(len(dataset), 7, dataset.table.patients)[0]
    rows = held_out_examples(dataset)
    patients = dataset.table.patients[rows]
    assert 0 < len(rows) == len(set(patients)) <= 4
    assert not set(patients) & set(dataset.table.patients[kept])


def test_the_cell_shown_is_the_best_diagnosis_under_suppression_at_the_highest_acceleration():
    arms = [("plain", "none", 0.99), ("weak", "marginal", 0.7), ("good", "marginal", 0.9)]
    rows = [
        row_of(name, "infomri", 0.1, 0, acceleration, suppression, auroc=auroc)
        for acceleration in (16.0, 32.0)
        for name, suppression, auroc in arms
    ]
    assert shown_cell(rows) == ("good", 32.0)
    assert shown_cell([row for row in rows if row.arm == "plain"]) == ("plain", 32.0)
    assert shown_cell([]) is None
