"""The supervisor: what dies is started again, what cannot be fixed ends it, nothing is left."""

import json
import os
import sys
import threading
from pathlib import Path

import pytest

from fl_client.supervision import supervisor
from fl_client.supervision.supervisor import Fault, SiteProcess, Supervisor
from tests.support.realfederation import wait_for
from tests.support.supervision import impatient, part, supervise

__all__ = ["impatient"]


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


def test_status_is_told_why_a_part_does_not_run(tmp_path: Path) -> None:
    told, stop = tmp_path / "told.json", threading.Event()

    def ready() -> bool:
        if told.exists() and json.loads(told.read_text())["dying"] == "not running: no luck":
            stop.set()
        return False

    watching = part(tmp_path, "watching", "exec sleep 60", ready=ready)
    fault = Fault("no luck", final=False)
    dying = part(tmp_path, "dying", "exit 3", fault=lambda code, lines: fault)
    assert Supervisor([watching, dying], lambda said: None, stop, told=told).run() == 0
