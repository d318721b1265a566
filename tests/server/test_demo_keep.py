"""``infomri demo --keep`` and ``--stop``: a federation that stays up ends when it is told to."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from fl_server.demo.keep import HOLDER, commands, stop_demo
from infomri_core.system.errors import InputError

HOLDING = """
import subprocess, sys
from pathlib import Path
from types import SimpleNamespace
from rich.console import Console
from fl_server.demo.keep import hold
from infomri_core.machine.interrupts import Interrupts

out = Path(sys.argv[1])
(out / "ca.crt").touch()
link = SimpleNamespace(
    address="127.0.0.1:8000", authority=SimpleNamespace(certificate=out / "ca.crt")
)
site = subprocess.Popen([sys.executable, "-c", "pass"])
with Interrupts() as interrupts:
    hold(out, link, {"north": site}, interrupts, Console())
print("ended")
"""


def test_a_federation_that_stays_up_prints_its_commands_and_is_stopped_by_one(tmp_path) -> None:
    held = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert held.stdout is not None
        lines = iter(held.stdout.readline, "")
        said = [next(lines) for _ in range(1 + len(commands(tmp_path, "north")) - 1)]
        assert any("infomri-client" in line for line in said) and "--stop" in said[-1]
        while "north has ended" not in next(lines):
            pass
        table = tomllib.loads((tmp_path / "operator" / "config.toml").read_text())
        assert table["superlink"]["demo"]["address"] == "127.0.0.1:8000"
        stop_demo(tmp_path, Console())
        assert held.wait(60) == 0
        assert "ended" in held.communicate()[0]
        assert not (tmp_path / HOLDER).exists()
    finally:
        held.kill()
        held.wait()
        held.stdout.close()


def test_where_nothing_stays_up_nothing_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--keep"):
        stop_demo(tmp_path, Console())
    # A number that another process has by now.
    (tmp_path / HOLDER).write_text("1 12.5\n")
    with pytest.raises(InputError, match="--keep"):
        stop_demo(tmp_path, Console())
