"""Results that a version with bootstrap intervals stored still open, and say what they said."""

import json
from pathlib import Path

from typer.testing import CliRunner

from fl_server.cli import app
from infomri_core.report.report import render
from infomri_core.report.verdict import verdict
from infomri_core.results.frontier import read_results
from tests.support.old_results import write_old_results


def test_compare_sets_two_old_studies_side_by_side(tmp_path: Path) -> None:
    paths = []
    for name, auroc in (("first", 0.9), ("second", 0.8)):
        (tmp_path / name).mkdir()
        paths.append(str(write_old_results(tmp_path / name / "results.json", auroc)))
    found = CliRunner().invoke(app, ["compare", *paths, "--json"])
    assert found.exit_code == 0, found.output
    marginal, plain = json.loads(found.output)["arms"]
    assert abs(marginal["auroc"]["change"] + 0.1) < 1e-9 and marginal["auroc_intervals_apart"]
    assert plain["auroc"]["change"] == 0 and not plain["auroc_intervals_apart"]
    shown = CliRunner().invoke(app, ["compare", *paths])
    assert shown.exit_code == 0 and "-0.100*" in shown.output and "0.870-0.930" in shown.output


def test_the_report_of_old_results_has_its_intervals_and_sites(tmp_path: Path) -> None:
    rows, meta = read_results(write_old_results(tmp_path / "results.json"))
    assert [row.utility.n_groups for row in rows] == [None, None]
    page = render(rows, meta, {})
    for words in ("0.870", "north", "south", "of an older version", "Secure aggregation was not"):
        assert words in page
    assert "Scores leave" not in page, "nothing is said of a noise that the study knew nothing of"
    found = verdict(rows, meta)
    assert found.state == "beyond" and "(95 % interval 15.7 to 16.3)" in found.sentences[0]
