"""The how-to of a reconstructor: its file is written, its entry added, and it is trained."""

import re
import sys
from pathlib import Path

import pytest
import tomli_w

from fl_client.policy.rules import check_rules
from fl_client.settings import Policy, read_settings
from infomri_core.plan.reading import parse_plan
from infomri_core.reconstruction.registry import RECONSTRUCTORS, reconstructor_class
from infomri_core.system.errors import Refused
from tests.client.test_site_commands import SITE
from tests.support.documentation import ROOT, blocks
from tests.support.small import local_sites, small_table, study

PAGE = ROOT / "docs" / "how-to" / "add-a-reconstructor.md"


def test_a_new_reconstructor_is_one_file_and_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = blocks(PAGE, "python")
    (entry,) = re.findall(r'"blend": "([\w.:]+)"', PAGE.read_text("utf-8"))
    (tmp_path / "blend.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(
        RECONSTRUCTORS, "blend", entry.removeprefix("infomri_core.reconstruction.")
    )
    made = small_table(rounds=1, local_steps=2) | {
        "task": {"kind": "reconstruction", "shape": [32, 32]},
        "model": {"width": 4, "reconstructor": "blend"},
        "arms": [{"sampler": "infomri", "beta": "-inf"}],
        "evaluation": {"attacks": ["lmmse"], "attack_slices": 1, "noise": False},
        "privacy": {"noise_multiplier": 1.0, "rate": 0.3, "lot": 4},
    }
    try:
        rows = study(parse_plan(tomli_w.dumps(made)), local_sites(tmp_path), tmp_path).run()
        assert rows and all(row.utility.value and row.utility.value > 10 for row in rows)
    finally:
        sys.modules.pop("blend", None)


def test_its_table_names_every_reconstructor_and_who_serves_dp_sgd() -> None:
    text = PAGE.read_text("utf-8")
    lines = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    said = {
        name: cells[4].strip() == "yes"
        for cells in lines
        for name in re.findall(r"`([\w-]+)`", cells[1])
    }
    assert said == {name: reconstructor_class(name).private for name in RECONSTRUCTORS}


def test_the_plan_and_the_policy_of_the_users_page_are_read(tmp_path: Path) -> None:
    policy, text = blocks(ROOT / "docs" / "how-to" / "reconstruct.md", "toml")
    plan = parse_plan('[study]\nname = "page"\n' + text)
    assert plan.arms and all(arm.asks_for_images for arm in plan.arms)
    (tmp_path / "site.toml").write_text(SITE.replace("[policy]\n", policy), "utf-8")
    check_rules(plan, read_settings(tmp_path / "site.toml").policy)
    with pytest.raises(Refused, match="image_arms"):
        check_rules(plan, Policy())
