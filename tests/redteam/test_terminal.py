"""A plan, or a site's answer, tries to rewrite the screen of the person who reads it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fl_client.cli import app
from infomri_core.messages import ErrorReply, reply_from, wire
from infomri_core.plan.reading import parse_plan
from infomri_core.system.errors import InputError
from infomri_core.system.plain import is_plain, plain
from tests.client.test_site_commands import SITE
from tests.support.vault_fakes import PLAN, make_plan

HIDES = "tear\x1b[2K\x1b[1A\x1b[2K no k-space and no image of anybody"
STEERS = (
    HIDES,
    "a\rb",
    "a\x9b2Jb",
    "\u202eraet",
    "a\u2028b",
    "a\u200bb",
    "a\x00b",
    "a\nb",
    "a\tb",
)


@pytest.mark.parametrize("label", [*STEERS, "", "x" * 101])
def test_no_label_of_a_plan_steers_the_terminal_of_who_approves_it(label: str) -> None:
    with pytest.raises(InputError) as refused:
        make_plan(task={"labels": [label, "b"], "shape": [8, 8]})
    assert is_plain(str(refused.value).replace("\n", "").replace("\t", ""))


def test_labels_of_any_script_are_taken() -> None:
    labels = ["Knorpelschaden (°II)", "半月板撕裂", "œdème"]
    assert make_plan(task={"labels": labels, "shape": [8, 8]}).task.labels == tuple(labels)


def test_what_is_refused_is_shown_without_its_escapes(tmp_path: Path) -> None:
    """``plan show`` of a plan whose other words are not what they must be."""
    (tmp_path / "site.toml").write_text(SITE)
    text = PLAN.text.replace('sampler = "uniform"', 'sampler = "\\u001b[2Juniform"')
    assert text != PLAN.text
    (tmp_path / "plan.toml").write_text(text)
    line = ["plan", "show", str(tmp_path / "plan.toml"), "--config", str(tmp_path / "site.toml")]
    done = CliRunner().invoke(app, line)
    assert done.exit_code != 0
    assert "\x1b" not in done.output + str(done.exception)
    with pytest.raises(InputError, match=r"x1b\[2Juniform"):
        parse_plan(text)


def test_a_hostile_site_does_not_write_on_the_study_leads_screen() -> None:
    error = ErrorReply("policy\x1b[31m", "rule \x1b]0;owned\x07" + "x" * 1000)
    got = reply_from(wire.decode(wire.encode(error.to_message())))
    assert isinstance(got, ErrorReply)
    assert is_plain(got.code) and is_plain(got.sentence)
    assert len(got.code) <= 40 and len(got.sentence) <= 400


@pytest.mark.parametrize("text", STEERS)
def test_plain_text_is_plain_and_stays_so(text: str) -> None:
    assert is_plain(plain(text).replace("\n", "").replace("\t", ""))
    assert plain(plain(text)) == plain(text)
