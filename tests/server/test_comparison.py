"""Two studies side by side, and how the command line ends."""

import csv
import io
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fl_server.cli import app
from fl_server.report.comparison import pairs, plan_differences, read_finished
from fl_server.run.folder import folder_with
from fl_server.study.failure import StudyFailed
from fl_server.terminal.exit_codes import (
    BAD_INPUT,
    DEFECT,
    FAILED,
    INTERRUPTED,
    ended,
    interrupted,
)
from infomri_core.plan.reading import parse_plan
from infomri_core.results.frontier import Row, write_results
from infomri_core.system.errors import InputError
from tests.support.rows import changed, row_of

PLAN = """
[study]
name = "knee"
[task]
labels = ["tear"]
shape = [32, 32]
[training]
rounds = 4
[[arms]]
sampler = "uniform"
"""
OTHER = PLAN.replace("rounds = 4", "rounds = 9") + '[[arms]]\nsampler = "infomri"\n'
FIRST = row_of("uniform-s0", "uniform", 0.0, 0, 8.0, auroc=0.7, auroc_low=0.6, auroc_high=0.8)
SECOND = changed(FIRST, auroc=0.9, auroc_low=0.85, auroc_high=0.95, psnr={"unet": 15.0})
ONLY = Row("infomri-s0", "infomri", 0.0, 0, 8.0)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    for name, plan, rows in (("a", PLAN, [FIRST]), ("b", OTHER, [SECOND, ONLY])):
        (tmp_path / name).mkdir()
        write_results(tmp_path / name / "results.json", rows, {})
        (tmp_path / name / "plan.toml").write_text(plan)
    return [str(tmp_path / name) for name in "ab"]


def test_every_arm_of_either_study_has_one_row_and_a_change_only_where_both_have_it():
    found = {pair.arm: pair for pair in pairs([FIRST], [SECOND, ONLY])}
    assert list(found) == ["uniform-s0", "infomri-s0"]
    assert found["uniform-s0"].change("auroc") == pytest.approx(0.2)
    assert found["uniform-s0"].change("psnr_worst") is None
    assert found["infomri-s0"].figures("auroc") == (None, None)


def test_intervals_are_apart_when_they_share_no_value():
    assert pairs([FIRST], [SECOND])[0].apart
    touching = changed(SECOND, auroc_low=0.8)
    assert not pairs([FIRST], [touching])[0].apart
    assert not pairs([FIRST], [changed(SECOND, auroc_low=None)])[0].apart
    assert not pairs([FIRST], [ONLY])[0].apart


def test_plans_differ_in_what_was_changed_and_in_nothing_else():
    assert plan_differences(parse_plan(PLAN), parse_plan(PLAN)) == {}
    found = plan_differences(parse_plan(PLAN), parse_plan(OTHER))
    assert found == {"training.rounds": (4, 9), "arm infomri-s0": (None, "present")}


def test_compare_says_it_in_a_table_and_in_json(runs: list[str]):
    text = CliRunner().invoke(app, ["compare", *runs]).stdout
    assert "+0.200*" in text
    assert "training.rounds" in text
    found = json.loads(CliRunner().invoke(app, ["compare", "--json", *runs]).stdout)
    auroc = found["arms"][0]["auroc"]
    assert (auroc["first"], auroc["second"]) == (0.7, 0.9)
    assert auroc["change"] == pytest.approx(0.2)
    assert auroc["interval"][0] == pytest.approx(0.05)
    assert auroc["interval"][0] <= 0.2 <= auroc["interval"][1]
    assert found["plan"]["training.rounds"] == {"first": 4, "second": 9}


def test_one_study_is_shown_alone_and_every_table_is_csv_as_well(runs: list[str]):
    assert "0.700 (0.600-0.800)" in CliRunner().invoke(app, ["compare", runs[0]]).stdout
    alone = json.loads(CliRunner().invoke(app, ["compare", runs[0], "--json"]).stdout)
    assert [row["arm"] for row in alone["rows"]] == ["uniform-s0"]
    said = CliRunner().invoke(app, ["compare", runs[0], "--csv"]).stdout
    (row,) = csv.DictReader(io.StringIO(said))
    assert (row["arm"], row["AUROC (95 % interval)"]) == ("uniform", "0.700 (0.600-0.800)")
    said = CliRunner().invoke(app, ["compare", *runs, "--csv"]).stdout
    first, second = csv.DictReader(io.StringIO(said))
    assert float(first["auroc change"]) == pytest.approx(0.2)
    assert float(first["auroc change low"]) == pytest.approx(0.05)
    assert (second["auroc change"], second["auroc change low"]) == ("", "")
    assert said.count("\n") == 3


def test_the_folder_that_train_was_told_means_its_one_run(tmp_path: Path, runs: list[str]):
    (tmp_path / "out").mkdir()
    Path(runs[0]).rename(tmp_path / "out" / "knee-1")
    assert read_finished(tmp_path / "out").rows == (FIRST,)
    assert folder_with(tmp_path / "out", "nothing") == tmp_path / "out"
    Path(runs[1]).rename(tmp_path / "out" / "knee-2")
    with pytest.raises(InputError, match=r"2 runs; name one of its folders: knee-1, knee-2"):
        read_finished(tmp_path / "out")


def test_a_folder_without_results_is_refused_with_a_remedy(tmp_path: Path):
    with pytest.raises(InputError, match="completed run"):
        read_finished(tmp_path)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("x", "a", "b", "c"), BAD_INPUT, "Error x: expected a, got b; c"),
        (StudyFailed("no quorum [1/2]"), FAILED, "Study failed no quorum [1/2]"),
        (OSError(28, "No space left on device", "/x"), FAILED, "/x: No space left on device"),
        (ValueError("odd"), DEFECT, "ValueError: odd. This is a defect"),
    ],
)
def test_every_ending_is_one_paragraph_and_its_code(error, code, said, capsys):
    def run() -> None:
        raise error

    assert ended(run) == code
    assert said in capsys.readouterr().err


def test_ctrl_c_says_how_things_stand(capsys):
    with pytest.raises(typer.Exit) as exit_, interrupted("the run goes on"):
        raise KeyboardInterrupt
    assert exit_.value.exit_code == INTERRUPTED
    assert "Interrupted: the run goes on." in capsys.readouterr().err


def test_the_version_names_flower_torch_and_python():
    text = CliRunner().invoke(app, ["--version"]).stdout
    assert all(word in text for word in ("infomri", "Flower", "torch", "Python"))
