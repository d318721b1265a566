"""Plug-ins of a package of one's own: found by name, and never at a hospital that names none."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from infomri_core.arms.build import build_model
from infomri_core.attacks import registry as attacks
from infomri_core.attacks.linear.lmmse import LMMSE
from infomri_core.data import open_dataset
from infomri_core.plan.reading import parse_plan
from infomri_core.plugins import registry as plugins
from infomri_core.suppression.marginal import MarginalEntropy
from infomri_core.suppression.registry import build_suppression
from infomri_core.system.errors import InputError

PACKAGE = '''
"""A task of somebody else's."""
import pathlib
pathlib.Path({trace!r}).write_text("imported")

from dataclasses import dataclass
from typing import ClassVar, final
import numpy as np
import torch
from infomri_core.tasks.number import Number


@final
@dataclass(frozen=True)
class Brightness(Number):
    """The mean of a slice."""

    kind: ClassVar[str] = "brightness"

    def describe(self):
        return "learns the mean of a slice"

    def missing(self, dataset):
        return None

    @property
    def answer_names(self):
        return ("brightness",)

    def targets(self, dataset, rows):
        return dataset.images(rows).mean((1, 2))[:, None] / self.scale
'''
PLAN = """
[study]
name = "bright"
[task]
kind = "brightness"
shape = [16, 16]
[measurement]
ratio_range = [0.1, 0.5]
accelerations = [4.0]
[evaluation]
attacks = ["lmmse"]
[[arms]]
sampler = "uniform"
"""
AT_A_SITE = """
from pathlib import Path
from fl_client.settings import read_settings
from fl_client.vault.process import opened
from infomri_core.plan.reading import read_plan
from infomri_core.system.errors import InputError
try:
    with opened(read_settings(Path("site.toml")), lambda: False):
        print("task", read_plan(Path("plan.toml")).task.describe())
except InputError as error:
    print("refused", error)
"""
AT_THE_CENTRE = """
from pathlib import Path
from infomri_core.plan.reading import read_plan
from infomri_core.plugins import registry as plugins
plugins.allow_installed()
print("task", read_plan(Path("plan.toml")).task.describe())
"""
SITE = """
[site]
name = "north"
[superlink]
address = "127.0.0.1:8000"
insecure = true
[data]
uri = "phantom:?size=16&patients=20&slices=1"
[policy]
plugins = [{plugins}]
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder on the path with an installed package, as pip leaves it; and a plan that asks."""
    place = tmp_path / "installed"
    about = place / "knee_bright-1.2.dist-info"
    about.mkdir(parents=True)
    trace = str(tmp_path / "imported.txt")
    (place / "knee_bright.py").write_text(PACKAGE.format(trace=trace))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: knee-bright\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(
        "[infomri.tasks]\nbrightness = knee_bright:Brightness\n"
        "classification = knee_bright:Brightness\n"
    )
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def said(folder: Path, program: str) -> str:
    code = f"import sys; sys.path.insert(0, {str(folder / 'installed')!r})\n{program}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def at_a_site(folder: Path, plugins: str) -> str:
    (folder / "site.toml").write_text(SITE.format(plugins=plugins))
    return said(folder, AT_A_SITE)


def test_the_study_centre_finds_a_task_of_an_installed_package(package):
    assert said(package, AT_THE_CENTRE) == "task learns the mean of a slice\n"


def test_a_hospital_imports_no_plugin_that_its_policy_does_not_name(package):
    answer = at_a_site(package, "")
    assert answer.startswith("refused") and "knee-bright==1.2" in answer
    assert not (package / "imported.txt").exists()


def test_a_hospital_that_names_the_version_runs_it(package):
    assert at_a_site(package, '"knee-bright==1.2"') == "task learns the mean of a slice\n"


def test_another_version_than_the_named_one_is_refused_before_anything_is_imported(package):
    answer = at_a_site(package, '"knee-bright==1.1"')
    assert answer.startswith("refused") and "knee-bright==1.2" in answer
    assert not (package / "imported.txt").exists()


def test_no_plugin_takes_the_place_of_the_platforms_own(package):
    (package / "plan.toml").write_text(PLAN.replace('kind = "brightness"', 'labels = ["tear"]'))
    answer = said(package, AT_THE_CENTRE)
    assert "mean of a slice" not in answer
    assert not (package / "imported.txt").exists()


_MARGINAL = "infomri_core.suppression.marginal:MarginalEntropy"
POINTS = (
    EntryPoint("flat", "infomri_core.sampling.samplers.uniform:Uniform", "infomri.samplers"),
    EntryPoint("my-attack", "infomri_core.attacks.linear.lmmse:LMMSE", "infomri.attacks"),
    EntryPoint(
        "mine", "infomri_core.suppression.marginal:MarginalEntropy", "infomri.suppressions"
    ),
    EntryPoint("heads", "infomri_core.data.phantom.dataset:open_phantom", "infomri.formats"),
)
OTHERS = """
[study]
name = "plugged"
[task]
labels = ["tear"]
shape = [16, 16]
[measurement]
ratio_range = [0.1, 0.5]
accelerations = [4.0]
[evaluation]
attacks = ["my-attack"]
[[arms]]
sampler = "infomri"
suppression = "mine"
beta = 1e-4
[[arms]]
sampler = "flat"
"""


def test_samplers_attacks_suppressions_and_formats_are_added_too(monkeypatch):
    monkeypatch.setattr(plugins, "_installed", lambda: POINTS)
    with pytest.raises(InputError, match="a plug-in has it"):
        parse_plan(OTHERS)
    monkeypatch.setattr(plugins._Allowed, "everything", True)
    plan = parse_plan(OTHERS)
    assert plan.arms[0].suppression == "mine"
    variance = torch.ones(2, 16, 16)
    assert build_model(plan, plan.arms[1], variance).sampler is not None
    assert isinstance(attacks.build("my-attack", (16, 16)), LMMSE)
    assert "my-attack" in attacks.ATTACKS
    made = build_suppression("mine", torch.ones(2, 16, 16), None, 0.1)
    assert isinstance(made, MarginalEntropy)
    assert len(open_dataset("heads:?size=16&patients=2&slices=1")) == 2
