"""The wheel holds everything that the product is, and runs outside the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("infomri_core", "fl_client", "fl_server", "dashboard")
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools leaves its files beside what it builds."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, copy / name)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-W", "ignore", "-c", BUILD, str(out)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


def test_every_file_of_the_packages_is_in_the_wheel_and_no_test(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    present = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == present
    assert {f"{package}/py.typed" for package in PACKAGES} <= held


def test_the_wheel_runs_in_an_empty_folder(wheel, tmp_path):
    place, here = tmp_path / "installed", tmp_path / "empty"
    here.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    entry_points = next(place.glob("*.dist-info/entry_points.txt")).read_text()
    assert "infomri = fl_server.cli:main" in entry_points
    assert "infomri-client = fl_client.cli:main" in entry_points
    program = (
        "import sys, infomri_core.report.report, fl_client.cli, fl_server.cli, dashboard\n"
        "print(*(m.__file__ for m in (infomri_core, fl_client, fl_server, dashboard)))\n"
        "sys.argv = ['infomri', '--version']; fl_server.cli.main()"
    )
    environment = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    files, version = done.stdout.splitlines()[:2]
    assert all(file.startswith(str(place)) for file in files.split())
    assert version.startswith("infomri")
