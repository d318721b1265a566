"""What happens to the processes, the line and the clock of a site."""

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable

from benchmarks.faults import machine
from benchmarks.faults.fault import Fault, Heal, NotHere, Shot
from benchmarks.faults.world import NAMES, World
from fl_client.network.supernode import HOST, port_file
from fl_server.authority.certificates import SiteKit
from tests.support.realfederation import wait_for

VAULT, EXECUTOR = "fl_client.vault.process", "fl_client.network.executor"
SUPERNODE = "fl_client.network.supernode"
CUT_SECONDS = 20.0
STILL_SECONDS = 15.0
SLOW_BYTES = 10_000.0

Strike = Callable[[World, Shot], Heal | None]


def signalled(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def killed(*modules: str) -> Strike:
    """SIGKILL to the site's processes of the modules; couriers go with their executor."""

    def strike(world: World, shot: Shot) -> None:
        for module in modules:
            signalled(world.of(shot.site, module)[:1], signal.SIGKILL)

    return strike


def still(module: str, seconds: float | None = STILL_SECONDS) -> Strike:
    """SIGSTOP, and SIGCONT after some seconds; None: never, somebody must notice."""

    def strike(world: World, shot: Shot) -> None:
        pids = world.of(shot.site, module)[:1]
        signalled(pids, signal.SIGSTOP)
        if seconds is None:
            wait_for(lambda: not set(pids) & set(world.of(shot.site, module)), 240, world.told)
            return
        time.sleep(seconds)
        signalled(pids, signal.SIGCONT)

    return strike


def couriers(world: World, shot: Shot) -> list[int]:
    """The executor's forks that carry a message now."""
    return world.of(shot.site, EXECUTOR)[1:]


def held_courier(world: World, shot: Shot) -> list[int]:
    """A courier at its work: the vault stands still until it is found."""
    vault = world.of(shot.site, VAULT)[:1]
    signalled(vault, signal.SIGSTOP)
    until = time.monotonic() + 10
    while not (found := couriers(world, shot)) and time.monotonic() < until:
        time.sleep(0.1)
    signalled(found, signal.SIGSTOP)
    signalled(vault, signal.SIGCONT)
    return found


def kill_courier(world: World, shot: Shot) -> None:
    """SIGKILL to the courier with the task."""
    signalled(held_courier(world, shot), signal.SIGKILL)


def still_courier(world: World, shot: Shot) -> None:
    """A courier that stands still for fifty seconds; the vault goes on."""
    found = held_courier(world, shot)
    time.sleep(50.0)
    signalled(found, signal.SIGCONT)


def kill_client(world: World, shot: Shot) -> None:
    """SIGKILL to `infomri-client`; what it started goes along; then an init system's restart."""
    world.clients[NAMES[shot.site]].kill()
    world.restart_site(shot.site)


def stop_client(world: World, shot: Shot) -> None:
    """SIGTERM to `infomri-client`, and a restart."""
    world.restart_site(shot.site)


def still_client(world: World, shot: Shot) -> None:
    """The supervisor stands still, its parts work on; one of them dies meanwhile."""
    pid = world.clients[NAMES[shot.site]].pid
    signalled([pid], signal.SIGSTOP)
    killed(EXECUTOR)(world, shot)
    time.sleep(STILL_SECONDS)
    signalled([pid], signal.SIGCONT)


def port_taken(world: World, shot: Shot) -> Heal:
    """Another program takes the port that the SuperNode has just chosen, before it listens."""
    path = port_file(world.kit(shot.site).folder / "state")
    taken: list[socket.socket] = []
    until = time.monotonic() + 120
    while not taken and time.monotonic() < until:
        before = path.stat().st_mtime_ns
        killed(SUPERNODE)(world, shot)
        while path.stat().st_mtime_ns == before and time.monotonic() < until:
            time.sleep(0.001)
        # Too late where the SuperNode was faster, or the file is not written yet: once more.
        with contextlib.suppress(OSError, ValueError):
            taken.append(socket.create_server((HOST, int(path.read_text()))))
    assert taken, "no port was taken in time"
    return taken[0].close


def cut_off(world: World, shot: Shot) -> None:
    """The line is silent, then what was held up arrives."""
    world.relays[shot.site].cut()
    time.sleep(CUT_SECONDS)
    world.relays[shot.site].heal()


def flaky(world: World, shot: Shot) -> None:
    """Connections end again and again."""
    for _ in range(6):
        world.relays[shot.site].reset()
        time.sleep(2.0)


def slow_line(world: World, shot: Shot) -> Heal:
    """10 kB/s each way, to the end of the study."""
    world.relays[shot.site].slow(SLOW_BYTES)
    return world.relays[shot.site].heal


def second_client(world: World, shot: Shot) -> Heal:
    """A second `infomri-client` on the same state folder."""
    kit = world.kit(shot.site)
    first = world.clients[kit.name]
    second = world.start_site(kit)
    world.clients[kit.name] = first
    assert second.wait(60) != 0, "the second client ran on"
    return lambda: None


def copied_kit(world: World, shot: Shot) -> Heal:
    """A copy of the site's kit, node key and all, is started elsewhere for a while."""
    original, folder = world.kit(shot.site), world.folder / f"copy{shot.number}"
    shutil.copytree(original.folder, folder, ignore=shutil.ignore_patterns("state", "*.log"))
    names = ("site.toml", "node.key", "node.pub", "vault.key", "vault.pub")
    kit = SiteKit(folder.name, folder, *(folder / name for name in names))
    kit.node_key.chmod(0o600)
    client, log = world.start_site(kit), folder / "client.log"
    wait_for(lambda: "supernode: " in log.read_text().partition("started")[2], 120, world.told)
    time.sleep(5.0)
    client.terminate()
    client.wait(60)
    return lambda: None


def wrong_clock(world: World, shot: Shot) -> Heal:
    """The site's clock jumps three hours ahead, and is set right after twenty seconds."""
    if world.clock is None:
        raise NotHere("needs a C compiler")
    skew = world.folder / f"skew-{NAMES[shot.site]}"
    machine.set_skew(skew, 3 * 3600.0)
    return lambda: machine.set_skew(skew, 0.0)


def everything(world: World, shot: Shot) -> None:
    """All processes of all sites and of the study centre at once, and a restart of all."""
    for letter in world.letters:
        world.clients[NAMES[letter]].kill()
    signalled([world.superlink.pid], signal.SIGKILL)
    world.restart_superlink()
    for letter in world.letters:
        world.restart_site(letter)


FAULTS = (
    Fault("vault killed", killed(VAULT), "vault: ended with code -9"),
    Fault("courier killed", kill_courier),
    Fault("executor killed", killed(EXECUTOR), "executor: ended with code -9"),
    Fault("SuperNode killed", killed(SUPERNODE), "supernode: ended with code -9"),
    Fault("vault, executor and SuperNode killed at once", killed(VAULT, EXECUTOR, SUPERNODE)),
    Fault("infomri-client killed, started again", kill_client, "connected to"),
    Fault("infomri-client stopped, started again", stop_client, "connected to"),
    Fault("everything killed at once, started again", everything),
    Fault("vault stands still for 15 s", still(VAULT)),
    Fault("vault stands still for good", still(VAULT, None), "has given no echo"),
    Fault("executor stands still for 15 s", still(EXECUTOR)),
    Fault("executor stands still for good", still(EXECUTOR, None), "has not moved"),
    Fault("courier stands still for 50 s", still_courier),
    Fault("SuperNode stands still for 15 s", still(SUPERNODE)),
    Fault("infomri-client stands still for 15 s", still_client, "executor: ended with code -9"),
    Fault("SuperNode's port taken before it listens", port_taken, "took the port"),
    Fault("site cut off for 20 s", cut_off),
    Fault("line of the site ends again and again", flaky),
    Fault("line of 10 kB/s", slow_line),
    Fault("second client on the state folder", second_client, "one held by another"),
    Fault("second client with a copied kit", copied_kit, hold=1.0),
    Fault("site's clock three hours ahead for 20 s", wrong_clock, hold=20.0),
)
