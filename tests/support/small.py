"""A study small enough for a test: 32x32 phantoms, two arms, a few steps."""

from pathlib import Path
from typing import Any

import tomli_w
import torch

from fl_server.settings import Audit, Centre, CentreSettings
from fl_server.sites.local import LocalSites
from fl_server.study.study import Study
from infomri_core.data import open_dataset
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.site.site import Site

AUDIT_URI = "phantom:?patients=16&slices=2&size=32&seed=9&hospital=centre"


def site_uri(name: str) -> str:
    seed = sum(name.encode())
    return f"phantom:?patients=20&slices=2&size=32&seed={seed}&hospital={name}&prevalence=0.4"


def small_table(**training: Any) -> dict[str, Any]:
    labels = open_dataset(AUDIT_URI).table.label_names
    return {
        "study": {"name": "small", "seed": 5},
        "task": {"labels": list(labels), "shape": [32, 32]},
        "measurement": {"ratio_range": [0.05, 0.3], "accelerations": [4.0, 8.0]},
        "model": {"width": 4},
        "training": {"rounds": 3, "local_steps": 2, "batch_size": 8, **training},
        "evaluation": {"attacks": ["lmmse", "cnn"], "attack_slices": 1},
        "arms": [
            {"sampler": "infomri", "suppression": "marginal", "beta": 1e-3},
            {"sampler": "uniform"},
        ],
    }


def small_plan(**training: Any) -> Plan:
    return parse_plan(tomli_w.dumps(small_table(**training)))


def settings(directory: Path) -> CentreSettings:
    return CentreSettings(
        Audit(AUDIT_URI, cnn_steps=3, unet_steps=3, reader_steps=3),
        Centre(directory, device="cpu"),
    )


def local_sites(directory: Path, names: tuple[str, ...] = ("a", "b")) -> LocalSites:
    return LocalSites(
        [Site(open_dataset(site_uri(name)), name, directory / name) for name in names]
    )


class SilentTracker:
    """Takes what a tracker takes and keeps it."""

    def __init__(self) -> None:
        self.rounds: list[tuple[int, Any]] = []
        self.artifacts: list[Path] = []
        self.rows: list[Any] = []
        self.datasets: dict[str, Any] = {}
        self.bytes: dict[int, dict[str, int]] = {}

    def round(self, number: int, metrics: Any, shared: Any = None) -> None:
        self.rounds.append((number, metrics))

    def submitted(self, operator: str) -> None:
        """Nothing to keep: the run's folder names the operator."""

    def dropped(self, arm: str, why: str) -> None:
        """Nothing to keep: the results name dropped arms."""

    def lost_state(self, arm: str, why: str) -> None:
        """Nothing to keep: the results name it."""

    def dataset(self, name: str, card: Any, context: str = "training") -> None:
        self.datasets[name] = card

    def traffic(self, number: int, n_bytes: Any) -> None:
        self.bytes[number] = dict(n_bytes)

    def phases(self, number: int, seconds: Any) -> None:
        """Nothing to keep: the results name them."""

    def result(self, rows: Any) -> None:
        self.rows = list(rows)

    def artifact(self, path: Path) -> None:
        self.artifacts.append(path)

    def describe(self, text: str) -> None:
        """Nothing to keep: the report says the same."""


def study(plan: Plan, sites: Any, directory: Path, tracker: Any = None) -> Study:
    return Study(
        plan,
        settings(directory),
        sites,
        open_dataset(AUDIT_URI),
        directory / "run",
        tracker or SilentTracker(),
        torch.device("cpu"),
    )
