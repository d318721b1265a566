"""The supervisor: what dies is started again, what cannot be fixed ends it, nothing is left."""

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fl_client.network.endings import Ending
from fl_client.settings import read_settings
from fl_client.supervision import supervisor
from fl_client.supervision.site_processes import site_processes
from fl_client.supervision.supervisor import Fault, SiteProcess, Supervisor
from fl_server.authority.certificates import SiteOptions, authority, site_kit
from infomri_core.system.errors import InputError
from tests.support.realfederation import wait_for


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "MAX_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "REPEAT_SECONDS", 0.0)


def part(folder: Path, name: str, script: str, **options: object) -> SiteProcess:
    return SiteProcess(name, ("/bin/sh", "-c", script), folder / f"{name}.log", **options)  # type: ignore[arg-type]


def supervise(
    *parts: SiteProcess,
    until: Callable[[list[str]], bool],
    exits: bool = False,
    told: Path | None = None,
) -> tuple[int, list[str]]:
    """Exit code and sentences; stopped once ``until`` holds for the sentences so far."""
    stop, said = threading.Event(), []

    def say(sentence: str) -> None:
        said.append(sentence)
        if until(said):
            stop.set()

    return Supervisor(parts, say, stop, exits=exits, told=told).run(), said


def gone(folder: Path, name: str) -> bool:
    return not Path(f"/proc/{(folder / name).read_text().strip()}").exists()


def test_what_dies_is_started_again_until_told_to_stop(tmp_path: Path) -> None:
    again = tmp_path / "again"
    script = f"echo $$ > {tmp_path}/pid; [ -e {again} ] && exec sleep 60; touch {again}"
    dying = part(tmp_path, "dying", script)
    code, said = supervise(dying, until=lambda said: again.exists() and len(said) > 1)
    assert code == 0
    assert said[1] == "dying: ended with code 0; starting it again in 0.01 s"
    assert gone(tmp_path, "pid")


def test_what_dies_young_is_tried_again_without_end_and_the_others_run_on(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}; exec sleep 60"
    steady = part(tmp_path, "steady", script, ready=lambda: pid.exists() and bool(pid.read_text()))
    dying = part(tmp_path, "dying", "echo out of luck; exit 3", needs="steady")
    sentence = "dying: ended with code 3 (out of luck); starting it again in 0.01 s"
    code, said = supervise(steady, dying, until=lambda said: said.count(sentence) == 8)
    assert code == 0
    assert said.count("steady: started") == 1
    assert gone(tmp_path, "pid")


def test_the_same_reason_again_and_again_is_said_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "REPEAT_SECONDS", 60.0)
    count = tmp_path / "count"
    dying = part(tmp_path, "dying", f"echo >> {count}; exit 3")
    stop, said = threading.Event(), list[str]()

    def ready() -> bool:
        if count.exists() and len(count.read_text()) >= 5:
            stop.set()
        return False

    watching = part(tmp_path, "watching", "exec sleep 60", ready=ready)
    assert Supervisor([watching, dying], said.append, stop).run() == 0
    assert sum("ended with code 3" in sentence for sentence in said) == 1


def test_a_part_that_cannot_be_started_is_said_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where the folder of the log should be")
    cannot = SiteProcess("cannot", ("/bin/true",), tmp_path / "file" / "log" / "cannot.log")
    code, said = supervise(cannot, until=lambda said: len(said) == 3)
    assert code == 0
    assert all(s.startswith("cannot: cannot be started: ") for s in said[:3])


def test_a_part_that_is_stuck_is_replaced_and_that_is_no_strike(tmp_path: Path) -> None:
    pids, wanted, judged = tmp_path / "pids", 5, set[str]()

    def stuck() -> str | None:
        new = set(pids.read_text().split() if pids.exists() else ()) - judged
        judged.update(new)
        return "waits for nobody" if new else None

    deaf = part(tmp_path, "deaf", f"echo $$ >> {pids}; exec sleep 60", stuck=stuck)
    code, said = supervise(deaf, until=lambda said: said.count("deaf: started") == wanted)
    assert code == 0
    assert said[1:3] == ["deaf: waits for nobody; starting it again", "deaf: started"]
    assert len(judged) >= wanted - 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in judged)


def final(code: int, lines: list[str]) -> Fault:
    return Fault(f"code {code}, said {lines[-1]}", final=True)


def test_a_fault_that_cannot_pass_leaves_the_part_alone_and_the_site_up(tmp_path: Path) -> None:
    told = tmp_path / "parts.json"
    broken = part(tmp_path, "broken", "echo no data; exit 2", fault=final)
    steady = part(tmp_path, "steady", "exec sleep 60")
    stop, said, states = threading.Event(), list[str](), list[dict[str, str]]()

    def ready() -> bool:
        states.append(json.loads(told.read_text()) if told.exists() else {})
        if "gave up" in states[-1].get("broken", ""):
            stop.set()
        return False

    watching = part(tmp_path, "watching", "exec sleep 60", ready=ready)
    assert Supervisor([broken, steady, watching], said.append, stop, told=told).run() == 1
    assert said.count("broken: started") == 1
    assert states[-1]["broken"] == "gave up: code 2, said no data"
    assert states[-1]["steady"] == "running"
    assert not told.exists()


def test_told_to_a_site_ends_with_such_a_fault(tmp_path: Path) -> None:
    broken = part(tmp_path, "broken", "echo no data; exit 2", fault=final)
    code, said = supervise(broken, until=lambda said: False, exits=True)
    assert code == 1
    assert said[1].startswith("broken: code 2, said no data")


def test_a_part_that_was_ready_before_is_tried_again_whatever_its_fault(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"echo $$ >> {pid}; while [ ! -e {tmp_path}/seen ]; do sleep 0.01; done; exit 2"

    def ready() -> bool:
        if pid.exists() and pid.read_text():
            (tmp_path / "seen").touch()
        return pid.exists()

    def fault(code: int, lines: list[str]) -> Fault:
        return Fault("the share is not mounted", final=True)

    once = part(tmp_path, "once", script, ready=ready, fault=fault)
    wanted = "once: the share is not mounted; starting it again in 0.01 s"
    code, said = supervise(once, until=lambda said: wanted in said)
    assert (code, wanted in said) == (0, True)


def test_a_part_waits_for_the_one_it_needs(tmp_path: Path) -> None:
    first = part(
        tmp_path,
        "first",
        f"touch {tmp_path}/ready; exec sleep 60",
        ready=(tmp_path / "ready").exists,
    )
    second = part(tmp_path, "second", "exec sleep 60", needs="first")
    _, said = supervise(second, first, until=lambda said: "second: started" in said)
    assert said[:3] == ["first: started", "first: ready", "second: started"]


def test_events_of_a_log_are_told_once_each_and_old_ones_never(tmp_path: Path) -> None:
    (tmp_path / "noisy.log").write_text("event 0\n")
    script = "echo event 1; echo event 1; echo other; echo event 2; exec sleep 60"
    noisy = part(
        tmp_path, "noisy", script, event=lambda line: line if line.startswith("event") else None
    )
    _, said = supervise(noisy, until=lambda said: "noisy: event 2" in said)
    assert [sentence for sentence in said if "event" in sentence] == [
        "noisy: event 1",
        "noisy: event 2",
    ]


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    code = (
        "import pathlib, threading\n"
        "from fl_client.supervision.supervisor import SiteProcess, Supervisor\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "part = SiteProcess('p', ('/bin/sh', '-c', f'echo $$ > {folder}/pid; exec sleep 60'),"
        " folder / 'log')\n"
        "Supervisor([part], print, threading.Event()).run()\n"
    )
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    wait_for(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()), 20)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    wait_for(lambda: gone(tmp_path, "pid"), 10)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    options = SiteOptions("127.0.0.1:8000", "phantom:?seed=1")
    return site_kit(tmp_path / "kit", "north", authority(tmp_path / "ca"), options).settings


def test_a_complete_kit_has_three_parts_and_the_network_side_two(config: Path) -> None:
    settings = read_settings(config)
    names = [p.name for p in site_processes(config, settings)]
    assert names == ["vault", "executor", "supernode"]
    without = site_processes(config, settings, with_vault=False, folder=config.parent / "own")
    assert [p.name for p in without] == ["executor", "supernode"]
    assert all(p.log.is_relative_to(config.parent / "own") for p in without)


def test_no_port_is_chosen_before_the_supernode_starts(config: Path) -> None:
    commands = {p.name: p.command for p in site_processes(config, read_settings(config))}
    for command in commands.values():
        assert not {"--port", "--runtime-api"} & set(command)


@pytest.mark.parametrize(
    ("file", "content", "mode", "expected"),
    [
        ("ca.crt", b"no certificate", 0o644, "a PEM certificate"),
        ("node.key", b"no key", 0o600, "an OpenSSH ECDSA private key"),
        ("node.key", None, 0o644, "mode 0600"),
    ],
)
def test_unusable_credentials_are_refused_before_anything_starts(
    config: Path, file: str, content: bytes | None, mode: int, expected: str
) -> None:
    path = config.parent / file
    if content is not None:
        path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(InputError, match=expected):
        site_processes(config, read_settings(config))


def test_a_missing_credential_is_named(config: Path) -> None:
    (config.parent / "node.key").unlink()
    with pytest.raises(InputError, match=r"node\.key: expected a readable file"):
        site_processes(config, read_settings(config))


def test_the_courier_s_death_has_the_supernode_started_again(config: Path) -> None:
    listed = {part.name: part for part in site_processes(config, read_settings(config))}
    supernode, executor = listed["supernode"], listed["executor"]
    supernode.event("INFO :      Receiving: train message (ID: 1)")
    executor.event("2026-01-01 12:00:00,000 INFO courier 7 started")
    assert supernode.stuck() is None
    executor.event("2026-01-01 12:00:00,000 WARNING a courier ended with status -9")
    wait_for(lambda: supernode.stuck() is not None, 10)


@pytest.mark.parametrize(
    ("code", "expected", "lasting"),
    [
        (Ending.CERTIFICATE_ENDED, "certificate of .* has ended", False),
        (Ending.UNTRUSTED, "did not sign", True),
        (Ending.NO_TLS, "does not speak TLS", True),
        (Ending.KEY_REFUSED, "another client is connected", False),
        (Ending.UNREACHABLE, "does not answer", False),
    ],
)
def test_an_exit_code_is_told_with_its_remedy_and_nothing_lasts_that_once_stood(
    config: Path, code: int, expected: str, lasting: bool
) -> None:
    settings = read_settings(config)
    supernode = {part.name: part for part in site_processes(config, settings)}["supernode"]
    words = ["[SSL] certificate verify failed", "activate", "address already in use"]
    fault = supernode.fault(code, words)
    assert fault is not None and fault.final is lasting
    assert re.search(expected, fault.sentence)
    assert supernode.event("INFO :      SuperNode ID: 77") is not None
    again = supernode.fault(code, words)
    assert again is not None and not again.final
    assert supernode.fault(1, words) is None


def test_a_courier_that_dies_is_told_and_nothing_else_of_the_executor(config: Path) -> None:
    listed = {part.name: part for part in site_processes(config, read_settings(config))}
    event = listed["executor"].event
    assert event is not None
    told = event("2026-01-01 12:00:00,000 WARNING a courier ended with status -9")
    assert told == "a courier ended with status -9; its task is lost, to be sent again"
    assert event("2026-01-01 12:00:00,000 INFO ready") is None
