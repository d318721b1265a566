"""InfoMRI's Table 4: the printed attacker, beta by validation alone, and one row end to end."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from infomri_core.benchmark import infomri_table4
from infomri_core.benchmark.benchmark import Figures, Request
from infomri_core.benchmark.infomri_table4 import InfoMRITable4, chosen_beta
from infomri_core.benchmark.mnist_study import Digits, Schedule
from infomri_core.data import open_dataset
from infomri_core.models.cnn import PrintedCNN

TINY = Schedule(1, 8, 4, 1e-3, 2, 1, 12, 6)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    generator, parts = np.random.default_rng(0), {}
    for name, n in (("train", 144), ("test", 20)):
        parts[f"x_{name}"] = generator.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        parts[f"y_{name}"] = (np.arange(n) % 10).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", **parts)
    return f"mnist:{tmp_path / 'digits.npz'}"


def test_the_printed_attacker_has_its_printed_size() -> None:
    network = PrintedCNN()
    assert sum(p.numel() for p in network.parameters()) == 608 + 18_496 + 65
    assert network(torch.zeros(2, 2, 28, 28)).shape == (2, 1, 28, 28)


def test_no_image_is_in_two_parts(uri: str) -> None:
    digits = Digits.of(open_dataset(uri))
    parts = (digits.train, digits.audit, digits.validation, digits.test)
    assert [len(part) for part in parts] == [120, 12, 12, 20]
    assert len(np.unique(np.concatenate(parts))) == 164


@pytest.mark.parametrize("name", ["A-DPS", "InfoMRI, beta = 0.001"])
def test_a_row_has_accuracy_attackers_and_both_floors(
    name: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infomri_table4, "_SCHEDULES", {"small": TINY, "full": TINY})
    benchmark = InfoMRITable4()
    rows = {row.key: row for row in benchmark.rows(Request(uri, n_seeds=1))}
    found = {f"{name} | 0": rows[f"{name} | 0"].run()}
    for acceleration in ("32x", "48x"):
        for what in ("printed", "lmmse", "unet", "mean", "diagnosis", "accuracy, test"):
            assert np.isfinite(found[f"{name} | 0"][f"{acceleration} | {what}"])
    table = benchmark.table(found)
    assert f"| {name} | 0." in table and "published: A-DPS" in table and "nan" not in table


def test_beta_is_the_largest_whose_validation_accuracy_holds_and_test_figures_do_not_count() -> (
    None
):
    def figures(validation: float, test: float) -> Figures:
        both = {"accuracy, validation": validation, "accuracy, test": test}
        cells = {f"{a} | {n}": v for a in ("32x", "48x") for n, v in both.items()}
        return cells | {"validation images": 5000.0}

    found: dict[str, Mapping[str, float]] = {"InfoMRI, beta = 0 | 0": figures(0.95, 0.95)}
    assert chosen_beta(found) is None
    found["InfoMRI, beta = 0.001 | 0"] = figures(0.96, 0.1)
    found["InfoMRI, beta = 0.003 | 0"] = figures(0.948, 0.1)
    found["InfoMRI, beta = 0.01 | 0"] = figures(0.94, 0.99)
    assert chosen_beta(found) == "InfoMRI, beta = 0.003"
