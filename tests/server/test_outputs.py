"""Where a command writes is tried before it works; a full disk says what is kept."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from fl_client.cli import app as client
from fl_server.cli import app
from infomri_core.machine.backup import back_up
from infomri_core.system.errors import InputError
from infomri_core.system.files import check_output, disk_errors_explained
from tests.support.importing import call
from tests.support.raw_data import Raw, volume
from tests.support.small import small_plan

# Every one ends before it has looked at its inputs, none of which exists.
COMMANDS: dict[str, Callable[[Path], list[object]]] = {
    "masks": lambda out: ["masks", "export", "--model", "no", "--acceleration", 4, "--out", out],
    "diagnose": lambda out: [
        "diagnose",
        "--model",
        "no",
        "--acceleration",
        4,
        "--out",
        out / "a.csv",
        "x.npy",
    ],
    "audit": lambda out: ["audit", "no", "--out", out],
    "external": lambda out: ["audit", "--external", "no", "--audit", "mnist:no", "--out", out],
    "check": lambda out: ["data", "check", "no.h5", "--sheet", out / "a.png"],
    "check beside": lambda out: ["data", "check", out / "no.h5"],
    "demo": lambda out: ["demo", "--data", "slices:no.h5", "--out", out],
    "train": lambda out: ["train", plan(out), "--data", "mnist:no", "--audit", "no", "--out", out],
    "resume": lambda out: [
        *("train", plan(out), "--data", "mnist:no", "--audit", "no"),
        *("--resume", out / "run"),
    ],
    "simulate": lambda out: ["simulate", "no.toml", "--sites", 2, "--out", out],
    "resume simulation": lambda out: ["simulate", "--resume", out],
    "provision": lambda out: ["provision", "--server", "h", "--sites", "a", "--out", out],
    "operator": lambda out: ["provision", "operator", "ada", "--out", out],
    "backup": lambda out: ["backup", out, "--centre", centre(out)],
    "restore": lambda out: ["restore", backed_up(out), "--centre", centre(out)],
    "import": lambda out: ["data", "import", "dicom", out.parents[1], "--out", out / "s.h5"],
}
CLIENT: dict[str, Callable[[Path], list[object]]] = {
    "keys": lambda out: ["keys", "request", "west", "--out", out],
    "ledger": lambda out: ["ledger", "export", out / "a.csv", "--config", "no.toml"],
    "backup": lambda out: ["backup", out, "--config", site(out)],
    "check": lambda out: ["data", "check", "no.h5", "--sheet", out / "a.png"],
}


def plan(out: Path) -> Path:
    path = out.parents[1] / "plan.toml"
    path.write_text(small_plan().text, encoding="utf-8")
    return path


def centre(out: Path) -> Path:
    """A centre.toml whose runs lie below ``out``."""
    path = out.parents[1] / "centre.toml"
    path.write_text(f'[audit]\ndata = "phantom:"\n[centre]\ndirectory = "{out}"\n')
    return path


def site(out: Path) -> Path:
    path = out.parents[1] / "site.toml"
    text = '[site]\nname = "a"\n[superlink]\naddress = "h:1"\ninsecure = true\n'
    path.write_text(text + '[data]\nuri = "phantom:"\n')
    return path


def backed_up(out: Path) -> Path:
    folder = out.parents[1] / "copy"
    (out.parents[1] / "run").mkdir()
    (out.parents[1] / "run" / "results.json").write_text("[]")
    back_up({"runs": out.parents[1] / "run"}, folder)
    return folder


ALL = [(app, COMMANDS[name]) for name in COMMANDS] + [(client, CLIENT[name]) for name in CLIENT]


@pytest.mark.parametrize(("program", "command"), ALL, ids=[*COMMANDS, *(f"c-{n}" for n in CLIENT)])
def test_an_output_that_cannot_be_written_ends_a_command_at_once(
    tmp_path: Path, program: typer.Typer, command: Callable[[Path], list[object]]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file" / "below"
    words = [str(word) for word in command(out)]
    outcome = CliRunner().invoke(program, words)
    assert isinstance(outcome.exception, InputError)
    assert str(tmp_path / "file") in outcome.exception.where
    assert "Not a directory" in outcome.exception.got


def test_a_good_folder_is_accepted_and_left_alone(tmp_path: Path) -> None:
    check_output(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(total=1 << 40, used=1 << 40, free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_a_full_disk_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_space(monkeypatch)
    with pytest.raises(InputError, match="got 1 MiB free; make room"):
        check_output(tmp_path)
    raw = Raw(tmp_path / "in" / "a.h5", volume(2)).measured().write()
    with pytest.raises(InputError, match="MiB free; make room"):
        call("import", "ismrmrd", raw, "--out", tmp_path / "s.h5", "--secret", tmp_path / "k")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_fills_up_says_how_the_work_continues(tmp_path: Path, code: int) -> None:
    with (
        pytest.raises(InputError, match="whole rounds are kept"),
        disk_errors_explained(tmp_path, "make room; whole rounds are kept"),
    ):
        raise OSError(code, "full")
    with pytest.raises(ConnectionError), disk_errors_explained(tmp_path, "no"):
        raise ConnectionError
