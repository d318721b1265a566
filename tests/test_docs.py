"""The documentation is true: its commands exist, its code runs, its links lead somewhere."""

import importlib.util
import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import tomli_w
import torch
from typer.testing import CliRunner

import fl_client.cli
import fl_server.cli
from fl_server.settings import Audit
from infomri_core.errors import InputError
from infomri_core.plan import parse_plan
from tests.documentation import (
    PAGES,
    PROGRAMS,
    ROOT,
    Invocation,
    blocks,
    inline,
    invocations,
    options,
    resolve,
)

HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
TUTORIAL = ROOT / "docs" / "tutorial.md"
TOLD = [ROOT / "README.md", TUTORIAL]
SMALL = (
    ("patients=40", "patients=14&size=32"),
    ("--attacks lmmse,tv,cnn,unet --steps cnn=400,unet=1500", "--attacks lmmse --steps reader=0"),
)
IN_TUTORIAL = "test_docs.py::test_the_tutorial_does_what_it_says"
DEMO = "test_demo.py::test_one_command_leaves_results_figure_ledgers_and_store_and_no_process"
RUN_BY = {
    "make demo": DEMO,
    "make test": "test_docs.py::test_make_has_the_targets_that_are_told",
    "infomri demo": DEMO,
    "infomri dashboard": "test_dashboard_browser.py::test_every_page_of_a_finished_study_is_drawn",
    "infomri data import dicom": "test_import_run.py::",
    "infomri data split": "test_data_check.py::test_a_split_is_seeded_stored_once_and_opens",
    "infomri data check": "test_data_check.py::test_a_sound_archive_is_described_and_passes",
    "infomri train": IN_TUTORIAL,
    "infomri masks export": IN_TUTORIAL,
    "infomri diagnose": IN_TUTORIAL,
    "infomri audit": IN_TUTORIAL,
    "infomri compare": IN_TUTORIAL,
    "infomri model list": IN_TUTORIAL,
    "infomri model approve": IN_TUTORIAL,
    "infomri provision": IN_TUTORIAL,
    "infomri-client plan show": IN_TUTORIAL,
    "infomri-client plan approve": IN_TUTORIAL,
    "infomri doctor": "test_doctor.py::test_without_problems_the_exit_code_is_zero",
    "infomri run": "test_federation_real.py::test_a_killed_superlink_and_a_resume_change_nothing",
    "flower-superlink --host": "test_federation_real.py::"
    "test_a_killed_superlink_and_a_resume_change_nothing",
    "infomri-client": "test_federation_processes.py::test_every_phase_is_answered_by_both_sites",
    "infomri-client ledger show": "test_site_commands.py::",
    "infomri-client ledger verify": "test_site_commands.py::",
    "unzip federation/kits/north.zip": "test_kits.py::test_a_kit_is_a_site_that_can_start",
    "chmod 700": "test_kits.py::test_a_kit_is_a_site_that_can_start",
}
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
    first = words[:1] if words and "|" not in words[0] else ()
    _, command, _ = resolve(told.program, words if "|" not in " ".join(words) else first)
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
    told = {each.subcommand for page in TOLD for each in invocations(page)}
    assert told <= set(RUN_BY), f"no test is named for {told - set(RUN_BY)}"
    for command, test in RUN_BY.items():
        file, _, name = test.partition("::")
        text = (ROOT / "tests" / file).read_text("utf-8")
        words = command.split()
        assert f"def {name}(" in text if name else f'"{words[-1]}"' in text, test


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_the_code_of_a_how_to_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page, "python"))
    (tmp_path / "code.py").write_text(code, "utf-8")
    runpy.run_path(str(tmp_path / "code.py"))


def example(name: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))


def test_the_example_of_a_sampler_trains_and_audits_it() -> None:
    found = example("own_sampler")["main"](["--steps", "2", "--size", "32", "--patients", "10"])
    assert set(found) == {"rings", "uniform", "variable density"}
    assert found["variable density"].psnr > found["uniform"].psnr > found["uniform"].floor


def test_the_example_of_a_mask_finds_that_more_is_rebuilt_from_more(tmp_path: Path) -> None:
    figures, data = example("audit_a_mask")["figures"], example("audit_a_mask")["images_for"]
    less, more = torch.zeros(2, 32, 32)
    less[:, 14:18], more[:, 8:24] = 1, 1
    few, many = (figures(m, data(m, "", 10), ["lmmse"], 0.02) for m in (less, more))
    assert many["lmmse"][0] > few["lmmse"][0] + 3
    assert few["mean"][0] == many["mean"][0] < few["lmmse"][0]


def test_the_example_of_a_mask_refuses_what_is_none(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.full((8, 8), 0.5))
    with pytest.raises(InputError, match="0 and 1"):
        example("audit_a_mask")["main"]([str(tmp_path / "mask.npy")])


def call(line: Invocation, words: list[str]) -> str:
    app = fl_server.cli.app if line.program == "infomri" else fl_client.cli.app
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def small(plan: str) -> str:
    """The tutorial's plan in little: fewer steps, a narrower network, two of its arms."""
    table = tomllib.loads(plan)
    table["task"]["shape"] = [32, 32]
    table["model"]["width"] = 4
    table["training"] |= {"rounds": 1, "local_steps": 2, "batch_size": 8}
    table["evaluation"] = {"attacks": ["lmmse"], "replicates": 20, "attack_slices": 1}
    table["arms"] = table["arms"][:3:2]
    return tomli_w.dumps(table)


def test_the_tutorial_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr("fl_server.central.Audit", partial(Audit, reader_steps=2))
    tables = blocks(TUTORIAL, "toml")
    (tmp_path / "plan.toml").write_text(small(tables[0]))
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).random((32, 32)).astype(np.float32))
    said: dict[str, str] = {}
    for line in invocations(TUTORIAL):
        if RUN_BY[line.subcommand] != IN_TUTORIAL or "--register" in line.words:
            continue
        text = "\0".join(line.words)
        for large, little in SMALL:
            text = text.replace(large.replace(" ", "\0"), little.replace(" ", "\0"))
        run = next((str(p.parent) for p in tmp_path.glob("runs/*/*/results.json")), "")
        words = [{"RUN": run, "OTHER": run}.get(word, word) for word in text.split("\0")]
        said[line.subcommand] = call(line, words[1:])
        if line.subcommand == "infomri provision":
            unpack(tmp_path / "federation" / "kits" / "north.zip", tmp_path / "infomri-north")
    assert len(list((tmp_path / "masks").glob("*.npy"))) >= 2
    assert "knee-1.infomri-marginal-b0.001-s0" in said["infomri model list"]
    assert "AUROC" in said["infomri train"] and "AUROC" in said["infomri compare"]
    assert "not approved" in said["infomri-client plan show"]
    assert "is approved at this site" in said["infomri-client plan approve"]


def unpack(kit: Path, folder: Path) -> None:
    """As the tutorial says: unzip, closed to others, with phantoms for data."""
    with zipfile.ZipFile(kit) as archive:
        archive.extractall(folder)
    folder.chmod(0o700)
    settings = folder / "site.toml"
    text = settings.read_text().replace("slices:study.h5", "phantom:?hospital=north&size=32")
    settings.write_text(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


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
    assert "marginal_entropy" in (tmp_path / "reference" / "physics" / "index.html").read_text()
