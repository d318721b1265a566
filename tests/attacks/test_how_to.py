"""The how-to of an attack: its file is written, its entry added, and a study audited by it."""

import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from fl_server.settings import read_settings
from infomri_core.attacks import registry
from infomri_core.plan.reading import parse_plan
from infomri_core.system.errors import InputError
from tests.support.documentation import ROOT, blocks
from tests.support.small import AUDIT_URI, local_sites, settings, small_table, study

PAGE = ROOT / "docs" / "how-to" / "add-an-attack.md"


def test_a_new_attack_is_one_file_and_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, *_ = blocks(PAGE, "python")
    evaluation, options = blocks(PAGE, "toml")
    (entry,) = re.findall(r'"wiener": "([\w.:]+)"', PAGE.read_text("utf-8"))
    (tmp_path / "wiener.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = entry.removeprefix("infomri_core.attacks.linear.")
    monkeypatch.setitem(registry.ATTACKS, "wiener", found)
    asked = tomllib.loads(evaluation)["evaluation"] | {"attack_slices": 1, "noise": False}
    made = small_table(rounds=1, local_steps=1) | {"evaluation": asked}
    (tmp_path / "centre.toml").write_text(f'[audit]\ndata = "{AUDIT_URI}"\n{options}', "utf-8")
    try:
        audit = read_settings(tmp_path / "centre.toml").audit
        assert audit.options["wiener"] == {"doubt": 2}
        monkeypatch.setattr(
            "tests.support.small.settings",
            lambda folder: replace(
                settings(folder), audit=replace(settings(folder).audit, attacks=audit.attacks)
            ),
        )
        rows = study(parse_plan(tomli_w.dumps(made)), local_sites(tmp_path), tmp_path).run()
        assert rows and all(set(row.psnr) == {"lmmse", "wiener"} for row in rows)
        assert registry.title_of("wiener").startswith("a Wiener filter")
        assert registry.style_of("wiener").colour == "#332288"
        with pytest.raises(InputError, match="did you mean 'doubt'"):
            registry.build("wiener", (32, 32), doubts=2)
    finally:
        sys.modules.pop("wiener", None)


def test_an_attack_that_needs_labels_serves_tasks_with_classes_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = small_table()
    made["task"] = {"kind": "regression", "outline": "oedema", "shape": [32, 32], "scale": 0.05}
    parse_plan(tomli_w.dumps(made))
    monkeypatch.setattr(registry.attack_class("lmmse"), "needs_labels", True)
    parse_plan(tomli_w.dumps(small_table()))
    with pytest.raises(InputError, match=r"need no labels.*got lmmse"):
        parse_plan(tomli_w.dumps(made))
