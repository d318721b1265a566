"""Attacks that a suppression was trained against are marked, and others decide."""

from dataclasses import replace
from io import StringIO

from rich.console import Console

from dashboard.tables import attack_table
from infomri_core.report.report import render
from infomri_core.report.verdict import verdict
from infomri_core.results.table import print_frontier
from infomri_core.results.trained_against import sentence, weaker_judge
from tests.support.rows import row_of

PLACE = ("infomri-attack-b0.1-s0", "infomri", 0.1, 0, 32.0, "attack")
ROW = row_of(
    *PLACE,
    auroc=0.9,
    psnr={"lmmse": 15.0, "unet": 16.0, "lmmse@same-site": 15.5},
    certified=("lmmse", "unet"),
    psnr_prior=14.0,
    psnr_answer=14.5,
)


def test_the_attack_that_was_in_the_loop_is_a_weaker_judge_whoever_fitted_it() -> None:
    assert [weaker_judge(ROW, name) for name in ROW.psnr] == [True, False, True]
    for other in ("marginal", "none", "of no package here"):
        assert not any(weaker_judge(replace(ROW, suppression=other), name) for name in ROW.psnr)
    assert not any(weaker_judge(replace(ROW, beta=0.0), name) for name in ROW.psnr)


def test_table_report_and_dashboard_mark_it() -> None:
    console = Console(width=140, file=StringIO(), color_system=None)
    print_frontier(console, [ROW], {})
    text = console.file.getvalue()
    assert "15.0†" in text and "16.0†" not in text and "fitted afterwards" in text
    page = render([ROW], {}, {})
    assert "lmmse <small>trained against</small>" in page and "unet</td>" in page
    marks = attack_table([ROW]).set_index("attack")["trained against"]
    assert marks["lmmse"].startswith("yes") and marks["unet"] == ""


def test_without_another_attack_its_figure_is_no_evidence() -> None:
    alone = replace(ROW, psnr={"lmmse": 14.6}, certified=("lmmse",))
    assert "no evidence of privacy" in sentence([alone])
    assert "no evidence of privacy" in " ".join(verdict([alone], {}).sentences)
    assert "fitted afterwards decide" in " ".join(verdict([ROW], {}).sentences)
