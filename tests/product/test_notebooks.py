"""The notebooks of ``examples/`` run from top to bottom, smaller, and were left executed."""

import json
import os
import runpy
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

from tests.support.documentation import ROOT

EXAMPLES = ROOT / "examples"
SMALL = {
    "audit_a_mask": 'patients, accelerations, attacks = 10, (4, 16), ("lmmse",)',
    "frontier": 'patients, others, rounds, local_steps, attacks = 20, 6, 1, 2, ["lmmse"]',
    "segmentation": "patients, rounds, local_steps, samples = 20, 1, 2, 2",
}


def cells(name: str) -> list[dict[str, Any]]:
    """The code cells of a notebook."""
    book = json.loads((EXAMPLES / f"{name}.ipynb").read_text("utf-8"))
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def small(name: str) -> str:
    """The notebook's code as a script, its parameters replaced by those of SMALL."""
    parts = []
    for cell in cells(name):
        wanted = "parameters" in cell["metadata"].get("tags", [])
        parts.append(SMALL[name] if wanted else "".join(cell["source"]))
    assert SMALL[name] in parts
    return "\n".join(parts)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.ipynb")))
def test_a_notebook_runs_from_top_to_bottom(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "code.py").write_text(small(name), "utf-8")
    runpy.run_path(str(tmp_path / "code.py"))
    assert plt.get_fignums()
    plt.close("all")


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_notebook_was_left_executed_with_its_pictures(name: str) -> None:
    outputs = [out for cell in cells(name) for out in cell["outputs"]]
    assert all(cell["execution_count"] for cell in cells(name))
    assert any("image/png" in out.get("data", {}) for out in outputs)
    assert not any(out["output_type"] == "error" for out in outputs)
    assert tempfile.gettempdir() + os.sep not in json.dumps(outputs)
