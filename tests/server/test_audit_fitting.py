"""Fitting of attacks at the centre: one that fails stays alone, and a void audit says so."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fl_server.audit import fitting
from fl_server.audit.fitting import FitContext, fit_attacks
from fl_server.settings import read_settings
from infomri_core.attacks.networks.cnn import CNNAttack
from infomri_core.attacks.networks.learned import LearnedAttack
from infomri_core.attacks.sparse.tv import TVAttack
from infomri_core.data import open_dataset
from infomri_core.sampling import VariableDensityPolicy
from infomri_core.system.errors import InputError
from tests.support.small import AUDIT_URI, SilentTracker, local_sites, small_plan, study

STEPS = {"cnn": {"n_steps": 4}, "unet": {"n_steps": 4, "width": 8}, "pnp": {"n_steps": 4}}


@pytest.fixture(autouse=True)
def hasty_compressed_sensing(monkeypatch):
    monkeypatch.setattr(TVAttack, "n_iterations", 1)


def _grounds(n=28, size_curve=False):
    dataset = open_dataset(AUDIT_URI)
    images = dataset.images(np.arange(len(dataset)))
    names = ("tv", "cnn", "unet", "ensemble")
    plan = small_plan()
    plan = replace(plan, evaluation=replace(plan.evaluation, attacks=names))
    return FitContext(
        plan,
        images[:n],
        dataset.table.patients[:n],
        plan.task.targets(dataset, np.arange(n)),
        images[28:],
        [VariableDensityPolicy((32, 32))],
        STEPS,
        size_curve,
    )


def _fit(context):
    said = []
    return fit_attacks(context, context.plan.evaluation.attacks, said.append), said


class OutOfMemory(CNNAttack):
    def fit(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")


class NotANumber(CNNAttack):
    def reconstruct(self, measurement, mask):
        return super().reconstruct(measurement, mask) * float("nan")


def _failing(kind, monkeypatch):
    if kind == "memory":
        return OutOfMemory
    if kind == "nan":
        return NotANumber
    monkeypatch.setitem(STEPS["cnn"], "learning_rate", 1e30)
    return CNNAttack


@pytest.mark.parametrize(
    ("kind", "why"), [("memory", "ran out of memory"), ("nan", "finite"), ("loss", "diverged")]
)
def test_an_attack_that_fails_is_named_and_the_others_go_on(kind, why, monkeypatch):
    attack, build = _failing(kind, monkeypatch), fitting.attacks.build

    def build_failing(name, shape, **options):
        return attack(shape, **options) if name == "cnn" else build(name, shape, **options)

    monkeypatch.setattr(fitting.attacks, "build", build_failing)
    context = _grounds()
    fitted, said = _fit(context)
    assert why in fitted.failed["cnn"]
    assert any("cnn failed" in sentence for sentence in said)
    assert set(fitted.certificates) == {"tv", "unet", "ensemble"}
    assert "cnn" not in fitted.attacks
    assert "lmmse" not in fitted.attacks
    assert "cnn" not in fitted.attacks["ensemble"].members


def test_an_audit_set_too_small_for_an_attack_refuses_that_attack_alone():
    fitted, _ = _fit(_grounds(n=LearnedAttack.least_images - 1))
    assert set(fitted.failed) == {"cnn", "unet", "ensemble"}
    assert "audit images" in fitted.failed["unet"]
    assert "tv" in fitted.certificates


def test_size_curves_are_of_cheap_attacks_and_of_learned_ones_when_asked():
    for asked in (False, True):
        fitted, _ = _fit(_grounds(size_curve=asked))
        curves = {name: c.size_curve for name, c in fitted.certificates.items()}
        assert [n for n, _ in curves["tv"]] == [8, 14, 28]
        # A quarter of this set is still enough for a network.
        assert [n for n, _ in curves["unet"]] == ([8, 14, 28] if asked else [])
        assert curves["ensemble"] == ()
        assert curves["tv"][-1][1] == fitted.certificates["tv"].psnr


def test_results_name_failed_attacks_and_a_void_audit(tmp_path: Path, monkeypatch):
    directory = tmp_path
    monkeypatch.setattr(CNNAttack, "least_images", 10**6)
    study(small_plan(), local_sites(directory), directory, SilentTracker()).run()
    content = json.loads((directory / "run" / "results.json").read_text())
    meta = content["meta"]
    assert "audit images" in meta["failed_attacks"]["cnn"]
    assert meta["audit_void"] is False
    assert all(set(row["psnr"]) == {"lmmse"} for row in content["rows"])
    assert all(row["certified"] == ["lmmse"] for row in content["rows"])
    assert len(meta["size_curves"]["lmmse"]) == 3

    monkeypatch.undo()
    monkeypatch.setattr("infomri_core.attacks.certify.TOLERANCE_DB", -100.0)
    study(small_plan(), local_sites(directory / "b"), directory / "b").run()
    meta = json.loads((directory / "b" / "run" / "results.json").read_text())["meta"]
    assert "strongest attack" in meta["audit_void"]


def test_the_audits_budget_and_width_are_checked(tmp_path: Path):
    path = tmp_path / "centre.toml"
    path.write_text('[audit]\ndata = "phantom:"\nunet_width = 64\nsize_curve = true\n')
    audit = read_settings(path).audit
    assert audit.options["unet"] == {"n_steps": audit.unet_steps, "width": 64}
    assert audit.size_curve
    for line in ("unet_width = 65", "pnp_steps = 0"):
        path.write_text(f'[audit]\ndata = "phantom:"\n{line}\n')
        with pytest.raises(InputError, match=line.split()[0]):
            read_settings(path)
