"""The faults, each as a study that it disturbs and the line in which the operator reads it."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.faults.kinds import cleared, expired, filled, second_client, shifted, small_disk
from benchmarks.faults.relay import Relay
from benchmarks.faults.world import PHASES, World, wait_for

CUT_SECONDS = 120.0
CERTIFICATE_SECONDS = 120.0


@dataclass(frozen=True)
class Case:
    """``course`` runs the study to its end and gives the line that the operator read.
    ``participants``: whether the same sites took part as in the undisturbed study, so that the
    weights must have the very same bits."""

    name: str
    course: Callable[[World], str]
    training: dict[str, Any] = field(default_factory=dict)
    same_participants: bool = True


def killed_at_each_phase(strike: Callable[[World], None], line: str) -> Callable[[World], str]:
    """A part of site a that dies with SIGKILL in each phase; the run goes on by itself."""

    def course(world: World) -> str:
        world.begin()
        for phase in PHASES:
            with world.held(phase):
                strike(world)
        world.state()
        return world.seen(line)

    return course


def centre_killed_at_each_phase(strike: Callable[[World], None]) -> Callable[[World], str]:
    """A part of the study centre that dies with SIGKILL in each phase; every run is resumed."""

    def course(world: World) -> str:
        world.begin()
        said = ""
        for phase in PHASES:
            with world.held(phase):
                strike(world)
            state = world.state()
            assert state.outcome == "failed", state
            said = said or state.details
            world.resume()
        return said

    return course


def kill(module: str) -> Callable[[World], None]:
    """SIGKILL to site a's process of a module; couriers, the executor's children, go with it."""

    def strike(world: World) -> None:
        os.kill(world.of_a(module)[0], signal.SIGKILL)

    return strike


def kill_courier(world: World) -> None:
    """SIGKILL to the executor's fork that carries the message."""
    for pid in world.of_a("fl_client.network.executor")[1:]:
        os.kill(pid, signal.SIGKILL)


def kill_client(world: World) -> None:
    """SIGKILL to `infomri-client` itself, then what an init system would do."""
    world.clients["a"].kill()
    world.clients["a"].wait()
    wait_for(lambda: world.of_a("fl_client") == [], 20, world.told)
    world.start_site(world.kits["a"])


def kill_superlink(world: World) -> None:
    """SIGKILL, then what systemd would do."""
    os.kill(world.superlink.pid, signal.SIGKILL)
    world.restart_superlink()


def kill_serverapp(world: World) -> None:
    """SIGKILL to the process that runs the study."""
    for pid in world.of_centre("serverapp"):
        os.kill(pid, signal.SIGKILL)


def cut_off(world: World) -> str:
    """Site a's network is silent for two minutes while it trains."""
    world.relay = Relay()
    world.begin()
    with world.held("train"):
        world.relay.cut()
    time.sleep(CUT_SECONDS)
    world.relay.heal()
    world.state()
    return world.seen("does not answer|reply could not be sent")


def too_slow(world: World) -> str:
    """Site a computes past the deadline of the first round; the quorum is one."""
    world.begin()
    wait_for(lambda: all(world.event(f"site {n}: ") for n in "ab"), 120, world.told)
    with world.held("train"):
        wait_for(lambda: bool(world.event(r"round \d/2: 1 sites")), 300, world.told)
    world.state()
    return world.event(r"round \d/2: 1 sites")


def site_disk_full(world: World) -> str:
    """No byte is left on the disk of site a's vault while it trains."""
    with small_disk(world.folder / "a" / "state", 24) as disk:
        world.begin()
        with world.held("train"):
            filled(disk)
        state = world.state()
        assert state.outcome == "failed", state
        cleared(disk)
        world.resume()
        world.state()
        said = world.event("^round .*a refused")
        shutil.copytree(disk, world.folder / "a" / "kept", ignore=shutil.ignore_patterns("*.sock"))
    shutil.copytree(world.folder / "a" / "kept", disk, dirs_exist_ok=True)
    return said


def centre_disk_full(world: World) -> str:
    """No byte is left where the study centre keeps its runs."""
    with small_disk(world.folder / "runs", 24) as disk:
        world.begin()
        with world.held("train"):
            filled(disk)
        state = world.state()
        assert state.outcome == "failed", state
        cleared(disk)
        world.resume()
        world.state()
        shutil.copytree(disk, world.folder / "kept")
    shutil.copytree(world.folder / "kept", disk, dirs_exist_ok=True)
    return state.details


def wrong_clock(world: World) -> str:
    """Site a's clock jumps three hours ahead while it trains, and is set right after a while."""
    with shifted(world) as shift:
        world.begin()
        with world.held("train"):
            shift(3 * 3600)
        wait_for(lambda: bool(world.seen("this site's clock")), 240, world.told)
        shift(0)
        world.state()
    return world.seen("this site's clock")


def certificate_ends(world: World) -> str:
    """The SuperLink's certificate ends while site a trains; it is renewed and the run resumed."""
    with expired(world, CERTIFICATE_SECONDS) as renew:
        world.begin()
        with world.held("train"):
            time.sleep(CERTIFICATE_SECONDS)
        wait_for(lambda: bool(world.seen("certificate of")), 120, world.told)
        renew()
        world.restart_superlink()
        world.state()
        world.resume()
        world.state()
    return world.seen("certificate of")


def one_key_twice(world: World) -> str:
    """A copy of site a's kit is started elsewhere while site a trains."""
    world.begin()
    with world.held("train"):
        log = second_client(world)
        wait_for(lambda: "supernode: " in log.read_text().partition("started")[2], 90, world.told)
        time.sleep(10.0)
    world.state()
    return world.seen("another client is connected", site="copy")


CASES = (
    Case(
        "vault killed in every phase",
        killed_at_each_phase(kill("fl_client.vault.process"), "vault: ended with code -9"),
    ),
    Case(
        "courier killed in every phase",
        killed_at_each_phase(kill_courier, "a courier ended with status -9"),
    ),
    Case(
        "executor killed in every phase",
        killed_at_each_phase(kill("fl_client.network.executor"), "executor: ended with code -9"),
    ),
    Case(
        "SuperNode killed in every phase",
        killed_at_each_phase(kill("fl_client.network.supernode"), "supernode: ended with code -9"),
    ),
    Case(
        "infomri-client killed in every phase, started again",
        killed_at_each_phase(kill_client, "connected to"),
    ),
    Case("SuperLink killed in every phase", centre_killed_at_each_phase(kill_superlink)),
    Case("ServerApp killed in every phase", centre_killed_at_each_phase(kill_serverapp)),
    Case("site cut off for two minutes", cut_off),
    Case(
        "slow site past the deadline",
        too_slow,
        {"quorum": 1, "deadline_seconds": 90.0},
        same_participants=False,
    ),
    Case("disk full at the site", site_disk_full),
    Case("disk full at the study centre", centre_disk_full),
    Case("site's clock three hours ahead", wrong_clock),
    Case("certificate ends during the study", certificate_ends),
    Case("two clients with one key", one_key_twice),
)
