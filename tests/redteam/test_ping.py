"""What the vault says of itself: nothing to the courier, whatever it sends."""

import dataclasses
import grp
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import RecordDict

from fl_client.isolation.probe import private_paths
from fl_client.memory.ledger import read_ledger
from fl_client.network import courier
from fl_client.settings import Vault, read_settings
from fl_client.sockets import channel, status
from fl_client.sockets.status import MAX_STATUS_BYTES, PING, token_file, vault_status
from infomri_core.messages import ErrorReply, reply_from, wire
from infomri_core.system.errors import InputError
from tests.client.test_isolation import inside
from tests.client.test_site_commands import SITE
from tests.support.vault_fakes import ask, jobs_in, make_plan, make_settings, train_task

PRIVATE = make_plan(privacy={"noise_multiplier": 1.0, "rate": 0.2, "lot": 2, "losses": True})


def test_a_ping_at_the_courier_s_socket_says_that_the_vault_lives_and_no_more(
    tmp_path: Path,
) -> None:
    with jobs_in(tmp_path) as (jobs, _, _):
        before = jobs.handle(wire.encode(PING))
        ask(jobs, train_task(PRIVATE))
        after = jobs.handle(wire.encode(PING))
        asked = wire.Message("status", {"token": "x", "deadline": 4e9, "plan": PRIVATE.text})
        reply = reply_from(wire.decode(jobs.handle(wire.encode(asked))))
    assert before == after == wire.encode(wire.Message("pong"))
    assert isinstance(reply, ErrorReply) and reply.code == "unknown-job"


@pytest.mark.parametrize("kind", ["ping", "status", "vault-status", "card", "anything"])
def test_the_courier_carries_listed_jobs_only(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(path: Path, data: bytes, timeout: float) -> bytes:
        raise AssertionError("it reached the vault")

    monkeypatch.setattr(channel, "call", call)
    content: RecordDict = courier.pack(wire.encode(wire.Message(kind, {"deadline": 4e9})))
    reply = reply_from(wire.decode(courier.unpack(courier.carry(content, tmp_path / "sock"))))
    assert isinstance(reply, ErrorReply) and reply.code == "unknown-job"


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Vault]:
    """A vault that has spent some epsilon and answers at its status socket."""
    vault = make_settings(tmp_path).vault
    with jobs_in(tmp_path) as (jobs, _, _):
        ask(jobs, train_task(PRIVATE))
        with status.served(vault, jobs.status):
            while not channel.listening(vault.status_path):
                time.sleep(0.01)
            yield vault


def test_without_the_token_the_status_socket_says_nothing(asked: Vault) -> None:
    path = asked.status_path
    known = vault_status(path)
    assert known is not None and known.tally.epsilon
    for message in (
        PING,
        wire.Message("status"),
        wire.Message("status", {"token": ""}),
        wire.Message("status", {"token": "0" * 64}),
        wire.Message("train", {"token": token_file(path).read_text()}),
    ):
        answer = channel.call(path, wire.encode(message), 20, MAX_STATUS_BYTES)
        assert answer == wire.encode(wire.Message("refused"))
    assert channel.call(path, b"nonsense", 20) == wire.encode(wire.Message("refused"))
    token_file(path).unlink()
    assert vault_status(path) is None


def test_socket_token_and_folder_are_the_vault_s_own(asked: Vault) -> None:
    path = asked.status_path
    assert path.parent != asked.socket_path.parent
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (path, token_file(path), path.parent)]
    assert modes == [0o600, 0o600, 0o700]


def test_where_two_users_share_a_group_the_token_is_the_group_s(tmp_path: Path) -> None:
    vault = make_settings(tmp_path).vault
    shared = dataclasses.replace(vault, group=grp.getgrgid(os.getegid()).gr_name)
    with jobs_in(tmp_path) as (jobs, _, _), status.served(shared, jobs.status):
        assert stat.S_IMODE(token_file(shared.status_path).stat().st_mode) == 0o640


def test_the_token_is_among_what_the_confined_must_not_open(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    assert token_file(settings.vault.status_path) in private_paths(settings)
    text = SITE.replace("[policy]", '[vault]\nstatus = "state/run/status.sock"\n[policy]')
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(InputError, match="a folder other than"):
        read_settings(tmp_path / "site.toml")


def test_inside_courier_and_supernode_the_token_cannot_be_read(asked: Vault) -> None:
    for keep in (
        'confine.courier_keeps(state, state / "run" / "vault.sock")',
        'confine.supernode_keeps(SuperLink("centre:8000"), state)',
    ):
        inside(
            f"""
from fl_client.settings import SuperLink
from fl_client.sockets.status import vault_status
state, path = Path(sys.argv[1]), Path(sys.argv[2])
assert vault_status(path) is not None
(state / "flwr").mkdir(exist_ok=True)
kept(lambda: confine.confine({keep}))
assert denied(lambda: os.open(path.with_name("token"), os.O_RDONLY))
assert vault_status(path) is None
""",
            asked.state,
            asked.status_path,
        )


def test_neither_side_of_one_user_looks_into_the_other() -> None:
    """Vault and courier of one user: the environment of who is hidden cannot be read."""
    inside(
        """
import ctypes, signal
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
def readable(prepare):
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
        prepare()
        os.write(done, b"x")
        signal.pause()
    os.read(ready, 1)
    try:
        return not denied(lambda: open(f"/proc/{child}/environ", "rb").read())
    finally:
        os.kill(child, signal.SIGKILL); os.waitpid(child, 0)
assert readable(lambda: None)
assert not readable(lambda: kept(confine.hide))
"""
    )


def test_a_charge_is_no_departure(asked: Vault) -> None:
    entries = read_ledger(asked.state / "ledger.jsonl")
    assert [entry.kind for entry in entries] == ["charge", "trained"]
    known = vault_status(asked.status_path)
    assert known is not None and known.tally == status.tally(entries)
    assert known.tally.replies == {"train": 1}
