"""The how-to of a task: its file is written, its entry added, and a study run."""

import re
import sys
from pathlib import Path

import pytest
import tomli_w

from infomri_core.plan.reading import parse_plan
from infomri_core.results.frontier import read_results
from infomri_core.tasks import registry
from tests.support.documentation import ROOT, blocks
from tests.support.small import local_sites, small_table, study

PAGE = ROOT / "docs" / "how-to" / "add-a-task.md"


def test_a_new_task_is_one_file_and_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = blocks(PAGE, "python")
    (entry,) = re.findall(r'"level": "([\w.:]+)"', PAGE.read_text("utf-8"))
    (tmp_path / "level.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.TASKS, "level", entry.removeprefix("infomri_core.tasks."))
    made = small_table(rounds=1, local_steps=1)
    made["task"] = {"kind": "level", "shape": [32, 32], "scale": 0.5}
    made["evaluation"] = {"attacks": ["lmmse"], "attack_slices": 1, "noise": False}
    try:
        rows = study(parse_plan(tomli_w.dumps(made)), local_sites(tmp_path), tmp_path).run()
        again, meta = read_results(tmp_path / "run" / "results.json")
        assert again == rows and meta["task"] == "level" and meta["labels"] == ["level"]
        assert all(row.figures["r2"].value is not None for row in rows)
        assert "R²" in (tmp_path / "run" / "privacy-report.html").read_text("utf-8")
    finally:
        sys.modules.pop("level", None)
