"""Isolation that holds: tried from inside processes, and not shown where the kernel refuses."""

import subprocess
import sys
from pathlib import Path

import pytest

from fl_client import isolation
from fl_client.holds import survey
from tests.vault_fakes import make_settings

PRELUDE = """
import errno, os, socket, sys
from pathlib import Path
from fl_client import isolation
def kept(step):
    try:
        step()
    except isolation.Unavailable:
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
kept(isolation.drop_network)
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
keep = isolation.courier_keeps(state, state / "run" / "vault.sock")
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(state / "run" / "vault.sock")); listener.listen()
parent = os.getppid()
kept(lambda: isolation.confine(keep))
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


def test_the_survey_says_which_hold(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.vault.state.mkdir()
    (settings.vault.state / "site.key").write_text("secret")
    holds = survey(settings, settings.vault.state)
    assert len(holds) == 2
    if not all(hold.holds for hold in holds):
        pytest.skip("not shown here")
    assert [hold.sentence.rpartition(": ")[2] for hold in holds] == ["holds", "holds"]


def test_data_among_the_files_of_the_installation_are_not_called_isolated() -> None:
    keep = isolation.courier_keeps(Path("/nowhere"), Path("/nowhere/sock"))
    assert keep.covers(Path("/usr/share/scans"))
    assert not keep.covers(Path("/srv/scans"))
