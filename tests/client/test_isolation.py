"""Isolation that holds: tried from inside processes, and not shown where the kernel refuses."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fl_client.cli import _tell_isolation
from fl_client.isolation import confine
from fl_client.isolation.probe import private_paths, survey
from fl_client.settings import Data
from fl_server.authority.certificates import SiteOptions, authority, site_kit
from infomri_core.machine import processes
from infomri_core.system.errors import InputError
from tests.support.realfederation import wait_for
from tests.support.vault_fakes import make_settings

PRELUDE = """
import errno, os, socket, sys
from pathlib import Path
from fl_client.isolation import confine
def kept(step):
    try:
        step()
    except confine.Unavailable:
        sys.exit(77)
def denied(step):
    try:
        step()
    except PermissionError:
        return True
    return False
"""


def inside(code: str, *arguments: Path) -> None:
    """Run ``code`` in a process of its own; it ends well only when all its claims hold."""
    command = [sys.executable, "-c", PRELUDE + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode == 77:
        pytest.skip("not shown here")
    assert done.returncode == 0, done.stderr


def test_inside_the_vault_no_socket_but_a_unix_one_opens() -> None:
    inside(
        """
listener = socket.create_server(("127.0.0.1", 0))
kept(confine.drop_network)
address = listener.getsockname()
assert denied(lambda: socket.create_connection(address))
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
    assert denied(lambda: socket.socket(family))
import threading
found = []
thread = threading.Thread(target=lambda: found.append(denied(lambda: socket.socket())))
thread.start(); thread.join()
assert found == [True]
child = os.fork()
if child == 0:
    os._exit(0 if denied(lambda: socket.socket()) else 1)
assert os.waitpid(child, 0)[1] == 0
a, b = socket.socketpair()
a.send(b"x"); assert b.recv(1) == b"x"
"""
    )


def test_inside_the_courier_the_data_cannot_be_opened(tmp_path: Path) -> None:
    data, state = tmp_path / "data", tmp_path / "state"
    for folder in (data, state / "flwr", state / "run"):
        folder.mkdir(parents=True)
    for path in (data / "scans.h5", state / "ledger.jsonl", state / "site.key"):
        path.write_text("secret")
    (state / "run" / "executor.secret").write_text("secret")
    inside(
        """
data, state = Path(sys.argv[1]), Path(sys.argv[2])
keep = confine.courier_keeps(state, state / "run" / "vault.sock")
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(state / "run" / "vault.sock")); listener.listen()
parent = os.getppid()
kept(lambda: confine.confine(keep))
secrets = (data / "scans.h5", state / "ledger.jsonl", state / "run" / "executor.secret")
for path in (*secrets, state / "site.key", data, state, Path(f"/proc/{parent}/mem")):
    assert denied(lambda: os.open(path, os.O_RDONLY)), path
child = os.fork()
if child == 0:
    os._exit(0 if denied(lambda: os.open(secrets[0], os.O_RDONLY)) else 1)
assert os.waitpid(child, 0)[1] == 0
assert denied(lambda: (state / "new").write_text("x"))
(state / "flwr" / "new").write_text("x")
import json.tool, xml.dom
socket.socket(socket.AF_UNIX).connect(str(state / "run" / "vault.sock"))
""",
        data,
        state,
    )


def test_inside_the_supernode_the_data_cannot_be_opened(tmp_path: Path) -> None:
    data, state = tmp_path / "data", tmp_path / "state"
    for folder in (data, state / "flwr", state / "run"):
        folder.mkdir(parents=True)
    kept = (tmp_path / "ca.crt", tmp_path / "node.key", state / "run" / "executor.secret")
    for path in (data / "scans.h5", state / "ledger.jsonl", state / "site.key", *kept):
        path.write_text("secret")
    inside(
        """
from fl_client.settings import SuperLink
top, data, state = map(Path, sys.argv[1:4])
link = SuperLink("centre:8000", top / "ca.crt", top / "node.key")
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(state / "run" / "vault.sock")); listener.listen()
parent = os.getppid()
kept(lambda: confine.confine(confine.supernode_keeps(link, state)))
secrets = [data / "scans.h5", state / "ledger.jsonl", state / "site.key", state / "run"]
for path in (*secrets, data, state, Path(f"/proc/{parent}/mem")):
    assert denied(lambda: os.open(path, os.O_RDONLY)), path
assert denied(lambda: (state / "run" / "node").write_text("1"))
for path in (link.root_certificate, link.node_key, state / "run" / "executor.secret"):
    assert path.read_text() == "secret"
(state / "flwr" / "new").write_text("x")
socket.create_server(("127.0.0.1", 0)).close()
import httpx, uvicorn
""",
        tmp_path,
        data,
        state,
    )


def test_the_survey_says_which_hold(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.vault.state.mkdir()
    (settings.vault.state / "site.key").write_text("secret")
    holds = survey(settings, settings.vault.state)
    assert len(holds) == 3
    if not all(hold.holds for hold in holds):
        pytest.skip("not shown here")
    assert [hold.sentence.rpartition(": ")[2] for hold in holds] == ["holds"] * 3


def test_the_survey_tries_every_data_set(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.vault.state.mkdir()
    within = settings.vault.state / "flwr" / "second.h5"
    sets = {"first": Data("slices:/srv/first.h5?x=1"), "second": Data(f"slices:{within}")}
    settings = replace(settings, datasets=sets)
    assert {Path("/srv/first.h5"), within} <= set(private_paths(settings))
    courier = survey(settings, settings.vault.state, with_vault=False)[0]
    assert not courier.holds and "second.h5 lies in a folder that it needs" in courier.sentence


def test_data_among_the_files_of_the_installation_are_not_called_isolated() -> None:
    keep = confine.courier_keeps(Path("/nowhere"), Path("/nowhere/sock"))
    assert keep.covers(Path("/usr/share/scans"))
    assert not keep.covers(Path("/srv/scans"))


WITHOUT_LANDLOCK = """
import ctypes, os, struct, sys
from fl_client.isolation import confine
refuse, allow = (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), refuse, allow]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
head = struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(code))
confine._no_new_privileges()
number = confine._MACHINES[os.uname().machine].seccomp
confine._call(number, 1, 0, ctypes.create_string_buffer(head))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a command on a kernel that, as far as it can tell, has no Landlock."""


def client(folder: Path, data: str, *before: str) -> list[str]:
    """The command line of ``infomri-client --require-isolation`` for a new site."""
    options = SiteOptions("127.0.0.1:1", data, None, {"device": "cpu"}, {"min_cohort": 2})
    kit = site_kit(folder / "kit", "north", authority(folder / "ca"), options)
    command = [processes.script("infomri-client"), "--config", str(kit.settings)]
    return [*before, *command, "--require-isolation"]


def test_required_isolation_that_holds_starts_the_site_and_is_in_force(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.vault.state.mkdir()
    if not all(hold.holds for hold in survey(settings, settings.vault.state)):
        pytest.skip("not shown here")
    log = tmp_path / "client.log"
    logs = tmp_path / "kit" / "state" / "log"
    running = processes.start(client(tmp_path, "phantom:?patients=5&size=16&seed=1"), log)
    try:
        for part in ("vault", "executor", "supernode"):
            path = logs / f"{part}.log"
            wait_for(lambda path=path: path.exists() and "isolation: no" in path.read_text(), 60)
        assert log.read_text().count(": holds") == 3
    finally:
        assert processes.stop(running, 20.0) == 0


def test_required_isolation_refuses_data_that_the_courier_needs_to_read(tmp_path: Path) -> None:
    settings = replace(make_settings(tmp_path), data=Data("slices:/usr/share/scans.h5"))
    with pytest.raises(InputError, match="lies in a folder that it needs"):
        _tell_isolation(settings, None, with_vault=True, required=True)


def test_required_isolation_refuses_a_kernel_without_landlock(tmp_path: Path) -> None:
    if os.uname().machine not in confine._MACHINES:
        pytest.skip("not shown here")
    before = [sys.executable, "-c", WITHOUT_LANDLOCK]
    command = client(tmp_path, "phantom:?patients=5&size=16&seed=1", *before)
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "not on this machine" in done.stderr and done.stderr.count("\n") == 1
    assert "started" not in done.stdout


def test_a_part_that_finds_no_isolation_ends_only_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unavailable() -> None:
        raise confine.Unavailable("no Landlock")

    monkeypatch.delenv(confine.REQUIRE, raising=False)
    confine.apply(unavailable, "no files but its own")
    monkeypatch.setenv(confine.REQUIRE, "1")
    with pytest.raises(InputError, match="no Landlock"):
        confine.apply(unavailable, "no files but its own")
