"""What happens to the processes and the files of the study centre, and to its messages."""

import signal
import sqlite3
import time
from pathlib import Path

from benchmarks.faults import machine
from benchmarks.faults.fault import SECURE, Fault, Heal, Shot
from benchmarks.faults.file_faults import flip
from benchmarks.faults.site_faults import STILL_SECONDS, VAULT, killed, signalled
from benchmarks.faults.world import World
from infomri_core.system.errors import InputError
from tests.support.realfederation import wait_for

DOWN_SECONDS = 20.0


def kill_superlink(world: World, shot: Shot) -> None:
    """SIGKILL, then what systemd does."""
    signalled([world.superlink.pid], signal.SIGKILL)
    world.restart_superlink()


def superlink_down(world: World, shot: Shot) -> None:
    """It stays away for a while; the relays in front of the sites answer."""
    world.superlink.stop()
    time.sleep(DOWN_SECONDS)
    world.restart_superlink()


def still_superlink(world: World, shot: Shot) -> None:
    """SIGSTOP, SIGCONT after some seconds."""
    signalled([world.superlink.pid], signal.SIGSTOP)
    time.sleep(STILL_SECONDS)
    signalled([world.superlink.pid], signal.SIGCONT)


def kill_serverapp(world: World, shot: Shot) -> None:
    """SIGKILL to the process that runs the study."""
    signalled(world.of_centre("serverapp"), signal.SIGKILL)


def still_serverapp(world: World, shot: Shot) -> None:
    """SIGSTOP to it, SIGCONT after some seconds."""
    pids = world.of_centre("serverapp")
    signalled(pids, signal.SIGSTOP)
    time.sleep(STILL_SECONDS)
    signalled(pids, signal.SIGCONT)


def overtaken(world: World, shot: Shot) -> None:
    """It stands still, the run is resumed, and then it goes on."""
    wait_for(lambda: _checkpoints(world) != [], 120, world.told)
    pids = world.of_centre("serverapp")
    signalled(pids, signal.SIGSTOP)
    world.resume()
    wait_for(lambda: world.control.state(world.run_id).status != "pending", 120, world.told)
    time.sleep(30.0)
    signalled(pids, signal.SIGCONT)


def resumed_twice(world: World, shot: Shot) -> None:
    """Killed, then resumed twice at once: one of them is refused."""
    wait_for(lambda: _checkpoints(world) != [], 120, world.told)
    kill_serverapp(world, shot)
    wait_for(lambda: world.control.state(world.run_id).finished, 240, world.told)
    world.resume()
    second = world.submit(world.plan.text, resume=world.runs.name)
    wait_for(lambda: world.control.state(second).finished, 240, world.told)
    world.endings.append(world.control.state(second).details)


def checkpoint_cut(world: World, shot: Shot) -> None:
    """The write of the newest checkpoint was cut, and the study's process died of it."""
    wait_for(lambda: _checkpoints(world) != [], 120, world.told)
    kill_serverapp(world, shot)
    newest = _checkpoints(world)[-1]
    with newest.open("r+b") as stream:
        stream.truncate(newest.stat().st_size // 2)
    newest.with_name(f".{newest.name}.x.tmp").write_bytes(b"half")


def checkpoint_damaged(world: World, shot: Shot) -> None:
    """A bit of the newest checkpoint changed before it is resumed."""
    wait_for(lambda: _checkpoints(world) != [], 120, world.told)
    kill_serverapp(world, shot)
    newest = _checkpoints(world)[-1]
    flip(newest, newest.stat().st_size // 2)


def checkpoints_lost(world: World, shot: Shot) -> None:
    """All checkpoints are gone, and the process with them: the study is begun again."""
    kill_serverapp(world, shot)
    for path in _checkpoints(world):
        path.unlink()


def events_torn(world: World, shot: Shot) -> None:
    """A torn line in `events.jsonl`, as a killed writer leaves it."""
    with (world.runs / "events.jsonl").open("ab") as stream:
        stream.write(b'{"time": 17')


def mlflow_lost(world: World, shot: Shot) -> None:
    """MLflow's database is deleted under the study."""
    for path in (world.folder / "runs").glob("mlflow.db*"):
        path.unlink()


def mlflow_locked(world: World, shot: Shot) -> None:
    """Another program holds MLflow's database for a while."""
    with sqlite3.connect(world.folder / "runs" / "mlflow.db", isolation_level=None) as held:
        held.execute("BEGIN EXCLUSIVE")
        time.sleep(STILL_SECONDS)
        held.execute("ROLLBACK")


def database_restarted(world: World, shot: Shot) -> Heal:
    """PostgreSQL under MLflow ends every connection, and is there again after some seconds; in
    the end nothing of the study waits to be sent."""
    assert world.database is not None
    world.database.stop()
    time.sleep(STILL_SECONDS)
    world.database.start()
    waiting = world.runs / "tracking.jsonl"

    def check() -> None:
        assert not waiting.exists(), f"not sent: {waiting.read_text()[:500]}"

    return check


def disk_full(world: World, shot: Shot) -> Heal:
    """No byte is left where the study centre keeps its runs."""
    disk = world.disks["centre"]
    machine.fill(disk)
    return lambda: machine.clear(disk)


def read_only(world: World, shot: Shot) -> Heal:
    """The disk where the study centre keeps its runs takes no writes."""
    disk = world.disks["centre"]
    machine.writable(disk, False)
    return lambda: machine.writable(disk, True)


def database_damaged(world: World, shot: Shot) -> None:
    """The SuperLink's database is overwritten and the SuperLink killed: it says so, a new database
    is begun, the sites are registered again, and the study goes on from its checkpoint."""
    signalled([world.superlink.pid], signal.SIGKILL)
    database = world.folder / "superlink" / "state.db"
    database.write_bytes(b"\0" * 4096)
    for other in database.parent.glob("state.db-*"):
        other.unlink()
    try:
        world.restart_superlink()
    except InputError as error:
        world.endings.append(str(error))
        assert "state.db" in str(error), error
    else:
        raise AssertionError("the SuperLink started on a damaged database")
    database.rename(database.with_suffix(".damaged"))
    world.restart_superlink()
    for letter in world.letters:
        world.control.register(world.kit(letter).public_key, world.kit(letter).name)
    world.settle()
    world.resume()


def doubled_messages(world: World, shot: Shot) -> Heal:
    """Every Flower message is pushed twice, replies come in any order, from a resumption on."""
    (world.flags / "twice").touch()
    kill_serverapp(world, shot)
    return (world.flags / "twice").unlink


def other_hardware(world: World, shot: Shot) -> Heal:
    """The study is resumed, and the site started again, where vector instructions are missing."""
    (world.flags / "hardware").touch()
    kill_serverapp(world, shot)
    world.restart_site(shot.site)

    def back() -> None:
        # The next study is compared bit for bit: the site's own vector instructions come back.
        (world.flags / "hardware").unlink()
        world.restart_site(shot.site)

    return back


def in_phase(phase: str) -> Fault:
    """A vault that dies in a phase of secure aggregation."""
    name = f"vault killed, secure aggregation, {phase}"
    return Fault(name, killed(VAULT), "vault: ended with code -9", (phase,), secure=True)


def _checkpoints(world: World) -> list[Path]:
    return sorted((world.runs / "checkpoints").glob("round-*.safetensors"))


KILLED = "ended early|is gone"
LATER = ("train", "score", "release")
FAULTS = (
    Fault("SuperLink killed, started again", kill_superlink, KILLED),
    Fault("SuperLink away for 20 s", superlink_down),
    Fault("SuperLink stands still for 15 s", still_superlink),
    Fault("ServerApp killed", kill_serverapp, KILLED),
    Fault("ServerApp stands still for 15 s", still_serverapp),
    Fault("ServerApp stands still, is resumed, goes on", overtaken, phases=("train",)),
    Fault("two resumes at once", resumed_twice, "one held by", ("train",)),
    Fault("write of the newest checkpoint cut", checkpoint_cut, KILLED, LATER),
    Fault("newest checkpoint damaged", checkpoint_damaged, KILLED, LATER),
    Fault("all checkpoints lost", checkpoints_lost, KILLED, ("train",)),
    Fault("torn line in events.jsonl", events_torn),
    Fault("MLflow's database deleted", mlflow_lost),
    Fault("MLflow's database locked for 15 s", mlflow_locked),
    Fault("PostgreSQL under MLflow restarted", database_restarted, postgres=True),
    Fault("disk full at the study centre", disk_full, "disk is full|room", hold=30.0),
    Fault("disk read-only at the study centre", read_only, "Read-only|write", hold=30.0),
    Fault("SuperLink's database damaged", database_damaged, "state.db", LATER),
    Fault("Flower messages doubled and reordered", doubled_messages, KILLED, ("train",)),
    Fault("resumed on other hardware", other_hardware, KILLED, ("train",), weights=1e-3),
    *map(in_phase, SECURE),
)
