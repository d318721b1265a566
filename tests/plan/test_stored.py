"""What earlier versions stored still opens: plans, results, run folders, a site's settings."""

import logging
import shutil
from pathlib import Path

import pytest

from fl_client.settings import read_settings
from fl_server.report.comparison import read_finished
from infomri_core.plan.reading import parse_plan, read_plan
from infomri_core.results.frontier import read_results
from infomri_core.system.config import build
from infomri_core.system.errors import InputError
from tests.client.test_vault_settings import TEXT

STORED = Path(__file__).parent / "stored"
DIGEST = "f211c82f41d0a90fac99d93fd80b2521c7c42ad6a910dbb93dc2f6471b749482"


def test_a_stored_plan_is_read_and_keeps_its_digest() -> None:
    plan = read_plan(STORED / "plan.toml")
    assert plan.digest == DIGEST
    assert plan.model.input == "whitened" and plan.model.width == 8


def test_the_old_name_of_a_key_is_reported_with_the_new_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = (STORED / "plan.toml").read_text("utf-8")
    with caplog.at_level(logging.WARNING):
        parse_plan(text, "an-old-plan.toml")
        parse_plan(text, "an-old-plan.toml")
    (line,) = [r.getMessage() for r in caplog.records if "an-old-plan.toml" in r.getMessage()]
    assert "'mouth'" in line and "'input'" in line


def test_a_key_under_both_names_is_refused() -> None:
    text = (STORED / "plan.toml").read_text("utf-8")
    with pytest.raises(InputError, match="remove 'mouth'"):
        parse_plan(text.replace("width = 8", 'width = 8\ninput = "whitened"'))


def test_stored_results_and_their_run_folder_open(tmp_path: Path) -> None:
    rows, meta = read_results(STORED / "results.json")
    assert [row.sampler for row in rows] == ["infomri", "infomri", "uniform"]
    assert meta["study"] == "demo-phantom"
    assert rows[0].psnr_worst == pytest.approx(26.9667, abs=1e-4)
    assert rows[0].legibility["full image"] == pytest.approx(0.93176, abs=1e-5)
    shutil.copytree(STORED, tmp_path / "run")
    finished = read_finished(tmp_path / "run")
    assert len(finished.rows) == 3
    assert finished.plan is not None and finished.plan.digest == DIGEST


def test_a_site_of_before_may_still_tell_its_budget(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    old = "min_cohort = 3\nmax_epsilon = 4.0\ntell_budget = true"
    path.write_text(TEXT.replace("min_cohort = 3", old), encoding="utf-8")
    assert read_settings(path).policy.report_budget


def test_a_key_that_never_was_is_still_refused() -> None:
    plan = read_plan(STORED / "plan.toml")
    with pytest.raises(InputError, match="only known keys"):
        build(type(plan.model), {"mouths": "whitened"}, "[model]")
