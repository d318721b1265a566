"""``infomri audit``: a stored run audited again without training, and what it refuses."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fl_server.audit.data_check import check_audit_data, check_intensities, split_for_scoring
from fl_server.commands import audit_actions
from fl_server.study.evaluation.reaudit import AuditRequest, repeat_audit
from infomri_core.data import SliceDataset, open_dataset
from infomri_core.results.frontier import read_results
from infomri_core.system.errors import InputError
from tests.support.small import AUDIT_URI, local_sites, site_uri, small_plan, study

QUICK = {"cnn": 3, "unet": 3, "reader": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("audited")
    study(small_plan(), local_sites(directory), directory).run()
    return directory / "run"


def again(run: Path, out: Path, **asked: object) -> list[str]:
    """The names of what a repeated audit wrote."""
    wanted = replace(AuditRequest(run, steps=QUICK, out=out, device="cpu"), **asked)  # type: ignore[arg-type]
    return [path.name for path in repeat_audit(wanted, lambda sentence: None).files]


class Bent(SliceDataset):
    """A data set with its images changed."""

    def __init__(self, inner: SliceDataset, scale: float, offset: float) -> None:
        self.table, self.shape = inner.table, inner.shape
        self._inner, self._scale, self._offset = inner, scale, offset

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self._inner.images(indices) * self._scale + self._offset


def test_a_study_leaves_report_figures_and_each_sites_figures(run: Path):
    for name in ("privacy-report.html", "examples.png", "examples.svg", "convergence.png"):
        assert (run / name).stat().st_size > 0
    rows, meta = read_results(run / "results.json")
    assert {(s["site"], s["arm"], s["acceleration"]) for s in meta["per_site"]} == {
        (site, row.arm, row.acceleration) for site in ("a", "b") for row in rows
    }
    assert all(set(s["psnr"]) == {"lmmse", "cnn"} for s in meta["per_site"])
    report = (run / "privacy-report.html").read_text("utf-8")
    assert meta["plan_sha256"] in report and "Each site" in report


def test_an_audit_is_repeated_on_held_out_patients_with_another_attack(run: Path, tmp_path: Path):
    before = sorted((run / "checkpoints").iterdir())
    files = again(run, tmp_path, attacks=("cnn",), accelerations=(5.0,), weights_seconds=0.01)
    assert {"results-audit.json", "privacy-report-audit.html", "frontier-audit.png"} <= set(files)
    rows, meta = read_results(tmp_path / "results-audit.json")
    original, _ = read_results(run / "results.json")
    assert {row.arm for row in rows} == {row.arm for row in original}
    assert all(row.acceleration == 5.0 and set(row.psnr) == {"lmmse", "cnn"} for row in rows)
    assert all(row.n_patients == 6 and row.psnr_gain_answer is not None for row in rows)
    assert all({"full image", "cnn"} <= set(row.legibility) for row in rows)
    assert "held out of the audit set" in meta["scored_on"]
    parts = {"dp", "membership", "inversion", "label_inference", "site_inference"}
    assert set(meta["weights"]) == parts
    assert "membership inference" in (tmp_path / "privacy-report-audit.html").read_text("utf-8")
    assert sorted((run / "checkpoints").iterdir()) == before


def test_other_data_are_scored_by_the_command(run: Path, tmp_path: Path, capsys):
    audit_actions.audit_run(
        AuditRequest(
            run,
            AUDIT_URI,
            site_uri("c").replace("=20", "=40"),
            ("lmmse",),
            (8.0,),
            {"reader": 0},
            tmp_path,
            device="cpu",
        )
    )
    rows, meta = read_results(tmp_path / "results-audit.json")
    assert meta["scored_on"].startswith("other data")
    assert [set(row.psnr) for row in rows] == [{"lmmse"}] * 2
    printed = "".join(capsys.readouterr().out.split())
    assert "Privacy/utilityfrontier" in printed and "privacy-report-audit.html" in printed


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"audit": AUDIT_URI.replace("size=32", "size=48")}, "shape"),
        ({"audit": AUDIT_URI.replace("patients=16", "patients=11")}, "13 patients"),
        ({"data": AUDIT_URI}, "that are in --data too"),
        ({"data": site_uri("c").replace("=20", "=4")}, "5 patients"),
        ({"data": site_uri("c")}, "5 patients that the plan has scored"),
        ({"accelerations": (50.0,)}, "ratio_range"),
        ({"attacks": ("lmse",)}, "did you mean 'lmmse'"),
        ({"steps": {"lmmse": 3}}, "--steps"),
        ({"run": Path("nowhere")}, "no such file or folder"),
    ],
)
def test_what_cannot_be_audited_is_refused(
    run: Path, tmp_path: Path, asked: dict[str, object], words: str
):
    with pytest.raises(InputError, match=words):
        again(asked.pop("run", run), tmp_path, **asked)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("scale", "offset", "words"),
    [
        (255.0, 0.0, "to 255"),
        (1.0, -0.5, "values from -0.4"),
        (0.1, 0.0, "99.9th percentile"),
        (0.0, 0.4, "constant"),
        (float("nan"), 0.0, "NaN"),
    ],
)
def test_another_intensity_convention_is_refused(scale: float, offset: float, words: str):
    with pytest.raises(InputError, match=words):
        check_intensities(Bent(open_dataset(AUDIT_URI), scale, offset), "audit set")


def test_other_labels_are_refused():
    dataset = open_dataset(AUDIT_URI)
    dataset.table = replace(dataset.table, label_names=("other",))
    with pytest.raises(InputError, match="other"):
        check_audit_data(small_plan(), dataset, "audit set", 1)


def test_a_patient_is_fitted_on_or_scored_and_never_both():
    dataset = open_dataset(AUDIT_URI)
    fit, scored = split_for_scoring(dataset)
    assert not set(fit.table.patients) & set(scored.table.patients)
    assert len(fit) + len(scored) == len(dataset)
    assert set(scored.table.split) == {"val"}


@pytest.mark.parametrize(("text", "found"), [("", ()), ("16x, 32", (16.0, 32.0))])
def test_numbers_may_carry_an_x(text: str, found: tuple[float, ...]):
    assert audit_actions.numbers(text) == found


@pytest.mark.parametrize("text", ["unet", "unet=many", "=3x"])
def test_steps_that_are_no_pairs_are_refused(text: str):
    with pytest.raises(InputError, match="NAME=N"):
        audit_actions.steps(text)
