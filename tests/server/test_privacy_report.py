"""The privacy report: its verdict, and that it is one file that loads and runs nothing."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fl_server.report import frontier_figure
from infomri_core.report.report import render, write_report
from infomri_core.report.verdict import NEGLIGIBLE_DB, verdict
from infomri_core.results.frontier import Row, from_json, to_json
from infomri_core.results.operating_point import operating_point
from tests.support.rows import changed, row_of

ROW = row_of(
    arm="infomri-marginal-b0.001-s0",
    sampler="infomri",
    suppression="marginal",
    beta=1e-3,
    seed=0,
    acceleration=32.0,
    auroc=0.94,
    auroc_low=0.90,
    auroc_high=0.97,
    psnr={"lmmse": 17.1, "unet": 17.4, "cnn": 14.9},
    psnr_low={"lmmse": 16.8, "unet": 17.0},
    psnr_high={"lmmse": 17.5, "unet": 17.8},
    ssim={"lmmse": 0.42, "unet": 0.45, "cnn": 0.30},
    legibility={"full image": 0.97, "unet": 0.71},
    nmse={"lmmse": 0.20, "unet": 0.18, "cnn": 0.31},
    certified=("lmmse", "unet"),
    psnr_prior=14.0,
    psnr_answer=14.6,
    n_audit=240,
    n_patients=60,
)
IDEAL = replace(ROW, psnr={"lmmse": 14.7}, psnr_low={}, psnr_high={})
META: dict[str, Any] = {
    "study": "knee",
    "seed": 5,
    "plan_sha256": "ab" * 32,
    "noise_std": 0.02,
    "labels": ["tear"],
    "sites": {"north": 30, "south": 30},
    "n_audit": 240,
    "certificates": {
        "lmmse": {"psnr": 25.0, "psnr_lmmse": 25.0, "passed": True},
        "cnn": {"psnr": 21.0, "psnr_lmmse": 25.0, "passed": False},
    },
    "per_site": [
        {"site": "north", "n_patients": 30, "arm": ROW.arm, "acceleration": 32.0, "auroc": 0.9}
    ],
    "weights": {
        "dp": {
            "epsilon_lower_bound": 1.25,
            "epsilon_accounted": 3.5,
            "delta": 1e-5,
            "canaries": 500,
            "control": {"epsilon_lower_bound": 4.7, "largest_provable": 4.7},
        },
        "membership": {
            "rmia": {"auc": 0.51, "tpr_at_1_percent_fpr": None},
            "control": {"rmia": {"auc": 0.55}, "members": 12},
        },
        "inversion": {
            "cases": [
                {"batch_size": 1, "local_steps": 1, "psnr": 24.5, "matched": True},
                {"batch_size": 8, "local_steps": 1, "psnr": 15.5, "matched": False},
            ],
            "acceleration": 4.0,
            "cases_left_out": 2,
            "convincing": True,
        },
        "label_inference": {"note": "left out: the audit's time limit was reached"},
        "site_inference": {"accuracy": 0.5, "chance": 0.25, "sites": 4, "updates": 24},
    },
    "versions": {"torch": "2"},
}


class Loads(HTMLParser):
    """Every address a page would fetch, and every tag it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]


LINKED = {"linkage_same_rank1": 1.0, "linkage_gallery": 24.0}


def test_a_gain_beyond_the_diagnosis_is_said_with_its_place_and_size():
    baseline = changed(ROW, arm="uniform-s0", sampler="uniform", auroc=0.8, psnr={"lmmse": 21.6})
    private = changed(ROW, arm="infomri-s0", beta=0.0, auroc=0.7, psnr={"lmmse": 14.7})
    found = verdict([baseline, private, ROW], META)
    assert found.state == "beyond"
    assert "+2.8" in found.headline
    text = " ".join(found.sentences)
    assert "'unet'" in text and "32x" in text and "17.0 to 17.8" in text and "1.9 times" in text
    assert "gained most against the arm 'uniform" in text and "+7.0 dB beyond" in text
    assert "gained least against the arm 'InfoMRI β=0'" in text and "+0.1 dB beyond" in text


def test_a_gain_is_said_with_the_interval_of_the_difference():
    known = {"gain_low": {"answer": 1.8}, "gain_high": {"answer": 3.9}}
    sure = from_json(to_json(replace(ROW, **known)))
    found = verdict([sure], META)
    assert "(95 %: +1.8 to +3.9)" in found.headline
    assert "+2.8 dB, 95 %: +1.8 to +3.9 (that floor" in render([sure], META, {})
    wide = {"gain_low": {"answer": -2.0}, "gain_high": {"answer": 2.1}}
    unsure = " ".join(verdict([replace(IDEAL, **wide)], META).sentences)
    assert "+2.1 dB is not excluded" in unsure
    assert "excluded" not in " ".join(verdict([IDEAL], META).sentences)


def test_the_verdict_is_of_the_arm_that_one_would_approve_and_not_of_a_baseline():
    baseline = changed(ROW, arm="uniform-s0", sampler="uniform", auroc=0.8, psnr={"lmmse": 25.0})
    rows = [baseline, ROW, replace(IDEAL, acceleration=16.0)]
    point = operating_point(rows)
    assert point is rows[2]
    assert verdict(rows, META).state == "within"
    assert operating_point([changed(ROW, auroc=None)]) is None


def test_linkage_is_in_the_headline_and_ends_a_verdict_of_nothing_found():
    assert "linkage finds every patient" in verdict([replace(ROW, **LINKED)], META).headline
    found = verdict([replace(IDEAL, **LINKED)], META)
    assert found.state == "beyond" and "but linkage finds every patient" in found.headline
    guessed = replace(IDEAL, linkage_same_rank1=0.05, linkage_gallery=24.0)
    assert verdict([guessed], META).state == "within"
    assert "not measured" in " ".join(verdict([IDEAL], META).sentences)


def test_the_officers_page_holds_what_a_decision_needs_before_any_evidence():
    page = render([replace(ROW, **LINKED)], META | {"privacy": None}, {})
    first = page[: page.index("<section>")]
    for part in (
        "What was asked",
        "InfoMRI β=0.001 at acceleration 32x",
        "+3.4 dB (that floor is 14.0 dB)",
        "+2.8 dB (that floor is 14.6 dB)",
        "100% of patients are found among 24 scans",
        "AUROC 0.710 in those of &#x27;unet&#x27;; in full images 0.970",
        "nothing bounds what the weights reveal",
        "What is not protected",
        "Date, signature",
    ):
        assert part in first


@pytest.mark.parametrize("gain", [-1.0, 0.0, NEGLIGIBLE_DB - 0.01])
def test_no_gain_beyond_the_diagnosis_is_evidence_and_no_proof(gain: float):
    found = verdict([replace(IDEAL, psnr={"lmmse": 14.6 + gain})], META)
    assert found.state == "within"
    assert "not proof" in " ".join(found.sentences)


@pytest.mark.parametrize(
    ("rows", "meta"),
    [
        ([], {}),
        ([replace(ROW, psnr={})], {}),
        ([replace(ROW, certified=("lmmse",))], {}),
        ([ROW], {"audit_void": True}),
        ([ROW], {"audit_void": "the strongest attack did not converge"}),
    ],
)
def test_an_audit_whose_strongest_attacker_is_weak_is_void(rows: list[Row], meta: dict[str, Any]):
    found = verdict(rows, meta)
    assert found.state == "void"
    page = render(rows, meta, {})
    assert "This audit is void" in page and found.sentences[0] in page


def test_the_report_opens_with_the_verdict_and_holds_what_the_meta_holds(tmp_path: Path):
    images = {"The frontier": frontier_figure.frontier([ROW], tmp_path / "frontier")[0]}
    page = write_report(tmp_path / "report.html", [ROW], META, images).read_text("utf-8")
    assert page.index("+2.8") < page.index("<section>")
    for part in ("Each site", "Attacks on weights", "membership inference", "data:image/png"):
        assert part in page
    assert page.index("weak: proves nothing") > 0
    assert "0.710 <small>(0.970)</small>" in page
    linked = replace(ROW, linkage_same_rank1=0.93, linkage_gallery=24.0)
    assert "Same scan: rank 1" in render([linked], META, {})
    bare = render([ROW], {}, {})
    for absent in ("Each site", "Attacks on weights", "<h2>Figures", "Same scan: rank 1"):
        assert absent not in bare


def test_a_weak_attack_on_weights_and_a_broken_guarantee_are_said():
    page = render([ROW], META, {})
    for part in (
        "at least 1.25",
        "Nothing contradicts the guarantee",
        "not told apart either (AUC 0.55)",
        "not matched",
        "2 settings were left out",
        "Not done: left out",
        "50% were given to the right site",
        "no site&#x27;s patient was attacked",
    ):
        assert part in page, part
    weak = {**META["weights"]["inversion"], "convincing": False}
    broken = {**META["weights"]["dp"], "epsilon_lower_bound": 9.0}
    page = render([ROW], META | {"weights": {"dp": broken, "inversion": weak}}, {})
    assert "does not hold as stated" in page and "was not rebuilt here" in page


def test_the_report_is_complete_in_itself(tmp_path: Path):
    images = {path.suffix: path for path in frontier_figure.frontier([ROW], tmp_path / "frontier")}
    page = render([ROW], META, images)
    seen = Loads(page)
    assert len(seen.addresses) == 2
    assert all(address.startswith("data:image/") for address in seen.addresses)
    assert not seen.tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"url\(|@import", page)


def test_hostile_names_stay_text():
    hostile = '"><script>alert(1)</script><img src=x onerror=y> $body ${title}'
    meta = META | {
        "study": hostile,
        "sites": {hostile: 30},
        "labels": [hostile],
        "dropped_arms": {hostile: hostile},
        "per_site": [{"site": hostile, "arm": hostile, "psnr": {hostile: 1.0}}],
        "certificates": {hostile: {"psnr": 1.0, "psnr_lmmse": 2.0, "passed": False}},
        "weights": {hostile: {hostile: hostile}},
        "versions": {hostile: hostile},
        "audit_void": hostile,
    }
    rows = [replace(ROW, arm=hostile), replace(ROW, arm=hostile + "2", psnr={hostile: 20.0})]
    seen = Loads(render(rows, meta, {hostile: Path("absent.png")}))
    assert not seen.tags & {"script", "img"} and seen.addresses == []


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, []),
        ({"privacy": None}, ["Differential privacy was not used"]),
        (
            {"rounds": [{"masked": False, "sites": ["a"]}], "privacy": None},
            ["Secure aggregation was not used", "Differential privacy was not used"],
        ),
        (
            {"rounds": [{"masked": True, "sites": ["a", "b", "c", "d"][:n]} for n in (4, 3)]},
            ["Secure aggregation was used", "updates of 3 or more sites"],
        ),
        (
            {"rounds": [{"masked": m, "sites": ["a", "b", "c"]} for m in (True, False)]},
            ["Secure aggregation was not used"],
        ),
    ],
)
def test_the_report_says_whether_masks_and_noise_protected_the_weights(
    known: dict[str, Any], expected: list[str]
) -> None:
    page = render([ROW], META | known, {})
    said = [
        word
        for word in (
            "Secure aggregation was used",
            "updates of 3 or more sites",
            "Secure aggregation was not used",
            "Differential privacy was used",
            "Differential privacy was not used",
        )
        if word in page
    ]
    assert said == expected


def test_epsilon_is_told_with_what_it_does_not_cover() -> None:
    assert "bounds what the weights" not in render([ROW], META, {})
    privacy = {"epsilon": 3.456, "delta": 1e-5, "unit": "patient", "outside": ["the moon; a star"]}
    text = render([ROW], {**META, "privacy": privacy}, {})
    assert "Epsilon 3.46 at delta 1e-05, the largest of any site" in text
    assert "It does not cover the moon; a star." in text
    text = render([ROW], {**META, "privacy": {**privacy, "moments": {"clip": 1.0}}}, {})
    assert "weights and moments of all rounds" in text


def test_the_report_says_what_is_learned_in_the_task_s_words():
    page = render([ROW], META | {"task_does": "learns to rebuild the image"}, {})
    assert "a study that learns to rebuild the image, from sampled k-space" in page
