"""The documentation is true: its commands exist, its code runs, its links lead somewhere."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from infomri_core.plan.reading import parse_plan
from tests.support.documentation import (
    PAGES,
    PROGRAMS,
    ROOT,
    RUN_BY,
    TOLD,
    TUTORIAL,
    Invocation,
    blocks,
    inline,
    invocations,
    options,
    resolve,
)

IN_BLOCKS = [each for page in PAGES for each in invocations(page)]
OURS = [each for each in IN_BLOCKS if each.program in PROGRAMS]
INLINE = [each for page in PAGES for each in inline(page)]


def test_there_are_commands_to_check() -> None:
    assert len(OURS) > 40 and len(INLINE) > 40


@pytest.mark.parametrize("told", OURS, ids=str)
def test_a_command_in_a_block_is_one_the_program_takes(told: Invocation) -> None:
    _, command, rest = resolve(told.program, told.words[1:])
    try:
        command.make_context(told.program, list(rest))
    except click.exceptions.Exit:
        assert "--help" in rest
    except click.UsageError as error:
        pytest.fail(error.format_message())


@pytest.mark.parametrize("told", INLINE, ids=str)
def test_a_command_in_a_sentence_names_what_exists(told: Invocation) -> None:
    words = tuple(word for word in told.words[1:] if word not in ("...", ".."))
    _, command, _ = resolve(told.program, words)
    known = options(command) | options(PROGRAMS[told.program])
    assert {word for word in words if word.startswith("-")} - {"-v"} <= known


@pytest.mark.parametrize("page", TOLD, ids=lambda page: page.name)
def test_the_plan_that_is_shown_is_one(page: Path) -> None:
    plans = [block for block in blocks(page, "toml") if "[study]" in block]
    assert [len(parse_plan(text).arms) for text in plans] == [2 if page in TOLD[:1] else 4]


def test_an_unknown_command_or_option_is_seen() -> None:
    with pytest.raises(LookupError, match="no command 'trian'"):
        resolve("infomri", ("trian", "plan.toml"))
    _, command, rest = resolve("infomri", ("train", "plan.toml", "--dta", "x"))
    with pytest.raises(click.UsageError):
        command.make_context("train", rest)


def test_make_has_the_targets_that_are_told() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    told = {each.words[1] for each in IN_BLOCKS if each.program == "make"}
    assert {"demo", "test"} <= told <= targets


def test_programs_told_to_python_exist() -> None:
    for each in IN_BLOCKS:
        if each.program.startswith("python") and each.words[1] == "-m":
            assert importlib.util.find_spec(each.words[2]) is not None, str(each)
        elif each.program.startswith("python"):
            assert (ROOT / each.words[1]).is_file(), str(each)


def test_every_command_of_readme_and_tutorial_is_run_by_a_test() -> None:
    told = {each.subcommand for page in TOLD for each in (*invocations(page), *inline(page))}
    assert told <= set(RUN_BY), f"no test is named for {told - set(RUN_BY)}"
    for test in RUN_BY.values():
        file, _, name = test.partition("::")
        (path,) = (ROOT / "tests").rglob(file)
        assert f"def {name}(" in path.read_text("utf-8"), test


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


def test_terms_of_the_tutorial_stand_in_the_glossary() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    entries = " ".join(re.findall(r"^\*\*(.+)\*\*$", glossary, re.M)).lower()
    terms = re.findall(r"(?<![*\w])\*([\w-][^*\n]*)\*(?!\*)", TUTORIAL.read_text("utf-8"))
    assert len(terms) > 5
    assert [t for t in terms if t != "italics" and t.lower().rstrip("s") not in entries] == []


def test_modules_of_the_reference_exist() -> None:
    pages = (ROOT / "docs" / "reference").glob("*.md")
    named = [m for page in pages for m in re.findall(r"^::: (\S+)", page.read_text("utf-8"), re.M)]
    assert len(named) > 25
    assert [module for module in named if importlib.util.find_spec(module) is None] == []


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    if importlib.util.find_spec("material") is None:
        pytest.skip("the extra 'docs' is not installed: make docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / "reference" / "physics" / "index.html").read_text()
    assert "marginal_entropy" in page and "Parameters:" in page, "no tables: docstring_style"
