"""The doctor: finds what will fail, says what to fix, and names no patient."""

import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import h5py
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from fl_server.authority import certificates
from fl_server.authority.certificates import SiteKit, SiteOptions
from fl_server.authority.site_keys import write_site_lists
from fl_server.commands.operations.doctor import doctor
from fl_server.health import machine, study
from fl_server.health.finding import Finding, Level, ok, run_checks
from infomri_core.data import open_dataset
from infomri_core.system.errors import InputError

app = typer.Typer()
app.command()(doctor)
PHANTOM = "phantom:?patients=8&slices=2&size=32&seed=1"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def levels(findings: Iterator[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


@pytest.fixture
def kit(tmp_path: Path) -> SiteKit:
    ca = certificates.authority(tmp_path / "ca")
    options = SiteOptions("127.0.0.1:1", PHANTOM)
    made = certificates.site_kit(tmp_path / "north", "north", ca, options)
    write_site_lists([made])
    return made


def test_a_sound_machine_and_its_kit_have_nothing_to_mend_but_the_absent_superlink(kit: SiteKit):
    result = call("--config", kit.settings, "--json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    bad = [f for f in said["findings"] if f["level"] == "problem"]
    assert [f["check"] for f in bad] == ["SuperLink 127.0.0.1:1"]
    assert not said["ok"]
    assert {"site.toml", "key node.key", "certificate ca.crt", "vault socket", "data"} <= {
        f["check"] for f in said["findings"]
    }


def test_without_problems_the_exit_code_is_zero():
    result = call("--data", PHANTOM)
    assert result.exit_code == 0, result.output
    assert re.search(r"^checking: \d+ checks$", result.stderr, re.M)
    for said in ("0 errors", "8 patients"):
        assert said in result.stdout


def test_every_problem_comes_with_a_remedy(kit: SiteKit, tmp_path: Path):
    kit.node_key.chmod(0o644)
    (kit.folder / "ca.crt").write_text("nonsense")
    said = json.loads(
        call("--config", kit.settings, "--data", "slices:absent.h5", "--json").stdout
    )
    bad = [f for f in said["findings"] if f["level"] != "ok"]
    assert {"key node.key", "certificate ca.crt", "data"} <= {f["check"] for f in bad}
    assert all(f["found"] and f["remedy"] for f in bad)


@pytest.mark.parametrize("option", ["--config", "--centre"])
@pytest.mark.parametrize("text", [None, "[data", "data = 3", "[superlink]\naddress = 5"])
def test_bad_settings_are_a_finding_and_the_other_checks_go_on(
    tmp_path: Path, option: str, text: str | None
):
    path = tmp_path / "settings.toml"
    if text is not None:
        path.write_text(text)
    result = call(option, path, "--json")
    assert result.exit_code == 1
    found = {f["check"]: f["level"] for f in json.loads(result.stdout)["findings"]}
    assert found["settings.toml"] == "problem"
    assert found["Python"] == "ok"


def test_a_malformed_address_is_refused():
    result = call("--superlink", "nowhere")
    assert isinstance(result.exception, InputError)
    assert "host:port" in str(result.exception)


def test_no_patient_is_named_where_data_are_refused(tmp_path: Path):
    path = tmp_path / "site.h5"
    with h5py.File(path, "w") as file:
        file["image"] = np.ones((4, 16, 16), np.float32)
        file["label"] = np.zeros(4, np.uint8)
        file["patient"] = np.array([b"Jane-Doe"] * 4)
        file["split"] = np.array([b"train", b"val", b"train", b"val"])
    with pytest.raises(InputError, match="a patient in 2 splits"):
        open_dataset(f"slices:{path}")
    result = call("--data", f"slices:{path}", "--json")
    assert result.exit_code == 1
    assert "Jane-Doe" not in result.output


def test_data_that_are_not_there_are_a_problem(tmp_path: Path):
    (found,) = study.check_data(f"slices:{tmp_path / 'absent.h5'}?role=site")
    assert found.level is Level.PROBLEM
    assert "no such file" in found.found


def test_few_patients_and_labels_of_one_class_are_worth_a_warning():
    few = list(study.check_data("phantom:?patients=3&slices=1&size=32&seed=1"))
    assert few[0].level is Level.WARNING
    assert "minimum cohort is 5" in few[0].found
    alone = study.check_data("phantom:?patients=40&slices=1&size=32&seed=1&prevalence=0")
    assert levels(alone) == [Level.OK, Level.WARNING]


def test_enough_patients_to_train_and_too_few_to_score_are_worth_a_warning():
    found = study.check_data("phantom:?patients=10&slices=4&size=32&seed=1")
    assert "data to score on" in [f.check for f in found if f.level is Level.WARNING]


def test_a_port_that_is_set_and_in_use_is_a_problem(kit: SiteKit):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        text = kit.settings.read_text()
        kit.settings.write_text(text.replace("[data]", f"runtime_port = {port}\n[data]"))
        said = json.loads(call("--config", kit.settings, "--json").stdout)
        found = {f["check"]: f for f in said["findings"]}
        assert found[f"port {port}"]["level"] == "problem"
        assert "runtime_port" in found[f"port {port}"]["remedy"]
    assert levels(machine.check_port(port)) == [Level.OK]


def test_packages_that_are_missing_or_of_another_version_are_named():
    def installed(name: str) -> str:
        if name == "opacus":
            raise PackageNotFoundError(name)
        return "1.40.0" if name == "flwr" else "999"

    (found,) = machine.check_packages(installed)
    assert found.level is Level.PROBLEM
    assert "opacus is missing" in found.found
    assert "flwr 1.40.0 is not" in found.found


def test_old_pythons_and_absent_programs_are_problems(tmp_path: Path):
    assert levels(machine.check_python((3, 10, 9))) == [Level.PROBLEM]
    assert levels(machine.check_programs(lambda name: str(tmp_path / name))) == [Level.PROBLEM]


@pytest.mark.parametrize(
    ("asked", "omp", "level"),
    [
        (2, None, Level.OK),
        (8, None, Level.WARNING),
        (0, "8", Level.WARNING),
        (0, "4", Level.OK),
        (0, "many", Level.WARNING),
    ],
)
def test_more_threads_than_processors_are_worth_a_warning(
    asked: int, omp: str | None, level: Level
):
    assert levels(machine.check_threads(asked, omp, n_cpus=4)) == [level]


def test_a_containers_quota_bounds_its_processors(tmp_path: Path):
    quota = tmp_path / "cpu.max"
    quota.write_text("100000 100000\n")
    assert machine.usable_cpus(quota) == 1
    quota.write_text("max 100000\n")
    assert machine.usable_cpus(quota) == machine.usable_cpus(tmp_path / "absent")


@pytest.mark.parametrize(
    ("gib", "level"), [(0.5, Level.PROBLEM), (2, Level.WARNING), (50, Level.OK)]
)
def test_disk_space_is_that_of_the_nearest_folder(tmp_path: Path, gib: float, level: Level):
    def free(place: Path) -> int:
        assert place == tmp_path
        return int(gib * 2**30)

    assert levels(machine.check_disk(tmp_path / "not" / "yet", free)) == [level]


def test_socket_paths_are_measured_in_bytes(tmp_path: Path):
    assert levels(study.check_socket(Path("/tmp/v.sock"))) == [Level.OK]
    assert levels(study.check_socket(tmp_path / ("é" * 60) / "v.sock")) != [Level.OK]
    assert levels(study.check_socket(tmp_path / ("v" * 120))) == [Level.PROBLEM]


def test_a_tracking_store_is_opened_made_or_refused(tmp_path: Path):
    path = tmp_path / "mlflow.db"
    uri = f"sqlite:///{path}"
    assert levels(study.check_tracking(uri)) == [Level.OK]
    assert not path.exists()
    path.write_bytes(b"x" * 5000)
    assert levels(study.check_tracking(uri)) == [Level.PROBLEM]
    path.unlink()
    store = sqlite3.connect(path)
    store.execute("create table experiments (name text)")
    store.commit()
    store.close()
    assert levels(study.check_tracking(uri)) == [Level.OK]
    assert levels(study.check_tracking("http://127.0.0.1:1")) == [Level.PROBLEM]
    assert levels(study.check_tracking("file:/tmp/mlruns")) == [Level.PROBLEM]


def test_a_check_that_fails_is_a_finding_without_its_words():
    def broken() -> list[Finding]:
        raise RuntimeError("Jane-Doe")

    found = list(run_checks([("a", broken), ("b", lambda: [ok("b", "fine")])]))
    assert [f.level for f in found] == [Level.PROBLEM, Level.OK]
    assert "Jane-Doe" not in found[0].found


def test_a_study_centre_is_checked_by_its_own_settings(tmp_path: Path):
    settings = tmp_path / "centre.toml"
    settings.write_text(f'[audit]\ndata = "{PHANTOM}"\n[centre]\ndirectory = "runs"\n')
    result = call("--centre", settings, "--json")
    assert result.exit_code == 0, result.output
    found = {f["check"]: f for f in json.loads(result.stdout)["findings"]}
    assert "8 patients" in found["audit set"]["found"]
    assert str(tmp_path / "runs" / "mlflow.db") in found["MLflow"]["found"]
    assert list(tmp_path.iterdir()) == [settings]
