"""The how-to of a sampler: its file is written, its entry added, and a study run."""

import re
import sys
from pathlib import Path

import pytest
import tomli_w

from infomri_core.plan.reading import parse_plan
from infomri_core.sampling import registry
from infomri_core.system.errors import InputError
from tests.support.documentation import ROOT, blocks
from tests.support.small import local_sites, small_table, study

PAGE = ROOT / "docs" / "how-to" / "add-a-sampler.md"


def test_a_new_sampler_is_one_file_and_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = blocks(PAGE, "python")
    (arm,) = blocks(PAGE, "toml")
    (entry,) = re.findall(r'"rings": "([\w.:]+)"', PAGE.read_text("utf-8"))
    (tmp_path / "rings.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = entry.removeprefix("infomri_core.sampling.samplers.")
    monkeypatch.setitem(registry.SAMPLERS, "rings", found)
    made = small_table(rounds=1, local_steps=1)
    del made["arms"]
    made["evaluation"] = {"attacks": ["lmmse"], "attack_slices": 1, "noise": False}
    try:
        plan = parse_plan(tomli_w.dumps(made) + arm)
        (named,) = [arm.name for arm in plan.arms]
        assert named == "rings-n8-marginal-b0.001-s0"
        rows = study(plan, local_sites(tmp_path), tmp_path).run()
        assert {row.arm for row in rows} == {named} and all(row.psnr for row in rows)
        with pytest.raises(InputError, match=r"2 \.\. 256"):
            parse_plan(tomli_w.dumps(made) + arm.replace("= 8", "= 1"))
    finally:
        sys.modules.pop("rings", None)
