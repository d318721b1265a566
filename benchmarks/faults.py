"""Faults by running them: real processes, killed or cut off while a study trains (`make faults`).

A stand-in federation of two sites (vaults that compute nothing, everything else real). For each
fault: what became of the run that was under way, whether the next one completes, and the line in
which the operator reads it. Prints a Markdown table; exit code 1 when a case ends otherwise than
expected. ``python -m benchmarks.faults [WORD ..]`` runs the cases whose name holds a word.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infomri_core import processes
from tests.realfederation import Federation, command_line, wait_for

CUT_OFF_SECONDS = 120.0


@dataclass(frozen=True)
class Case:
    """``strike`` does the damage while site a trains; ``outcome``: what then becomes of the run;
    ``line``: what the log of site a (or the run's own state) says."""

    name: str
    strike: Callable[[Federation], None]
    outcome: str
    line: str = ""


def folder_of(federation: Federation) -> str:
    return str(federation.kits["a"].folder)


def executors(federation: Federation) -> list[int]:
    """Site a's executor, then the couriers it has forked."""
    return sorted(federation.pids("fl_client.executor", folder_of(federation)))


def kill_vault(federation: Federation) -> None:
    federation.kill("tests.standin", "vault", folder_of(federation))


def kill_executor(federation: Federation) -> None:
    """The executor itself: its couriers are tethered to it."""
    os.kill(executors(federation)[0], signal.SIGKILL)


def kill_courier(federation: Federation) -> None:
    """The executor's fork that carries the message."""
    for pid in executors(federation)[1:]:
        os.kill(pid, signal.SIGKILL)


def kill_supernode(federation: Federation) -> None:
    federation.kill("flower-supernode", folder_of(federation))


def kill_client(federation: Federation) -> None:
    """`infomri-client` itself, started again as an init system would."""
    federation.clients["a"].kill()
    federation.clients["a"].wait()
    federation.start_site(federation.kits["a"])


def kill_serverapp(federation: Federation) -> None:
    for pid in descendants(federation.superlink.pid):
        if "serverapp" in command_line(Path(f"/proc/{pid}")):
            os.kill(pid, signal.SIGKILL)


def kill_superlink(federation: Federation) -> None:
    port = federation.superlink.options.port
    os.kill(federation.superlink.pid, signal.SIGKILL)
    federation.control.close()
    federation.superlink.stop()
    federation.start_superlink(port=port)


def cut_off(federation: Federation) -> None:
    """The site's side of the network stands still for two minutes."""
    nodes = federation.pids("flower-supernode", folder_of(federation))
    for pid in nodes:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(CUT_OFF_SECONDS)
    for pid in nodes:
        os.kill(pid, signal.SIGCONT)


def descendants(pid: int) -> set[int]:
    """All processes that ``pid`` started, and they in turn."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parents[int(entry.name)] = parent_of(entry)
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def parent_of(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


CASES = (
    Case("vault killed", kill_vault, "completed", "vault: ended with code -9"),
    Case("courier killed", kill_courier, "completed", "a courier ended with status -9"),
    Case("executor killed", kill_executor, "completed", "executor: ended with code -9"),
    Case("SuperNode killed", kill_supernode, "completed", "supernode: ended with code -9"),
    Case("infomri-client killed, started again", kill_client, "completed"),
    Case("site cut off for two minutes", cut_off, "completed"),
    Case("ServerApp killed", kill_serverapp, "failed"),
    Case("SuperLink killed, started again", kill_superlink, "failed"),
)


def run(case: Case, federation: Federation) -> tuple[bool, str]:
    """Strike while site a trains; whether all went as expected, and a row of the table."""
    pause, told = federation.folder / "pause", federation.told
    pause.touch()
    seen, known = federation.log("a").count("task received: train"), len(federation.log("a"))
    started = time.monotonic()
    run_id = federation.submit()
    wait_for(lambda: federation.log("a").count("task received: train") > seen, 90, told)
    wait_for(lambda: len(executors(federation)) > 1, 30, told)
    case.strike(federation)
    pause.unlink()
    outcome = federation.finish(run_id, 300).outcome
    seconds = time.monotonic() - started
    after = federation.finish(federation.submit(), 300).outcome
    said = case.line in federation.log("a")[known:]
    good = outcome == case.outcome and after == "completed" and said
    cells = [case.name, outcome, f"{seconds:.0f} s", after, f"`{case.line}`" if case.line else ""]
    return good, f"| {' | '.join([*cells, 'as expected' if good else 'OTHERWISE'])} |"


def main(words: Sequence[str]) -> int:
    """Run the cases and print the table."""
    print("| fault, while a site trains | the run | after | the next run | the site's log | |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    results = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "federation"
        pause = str(folder / "pause")
        with Federation(folder, standin=True, STANDIN_SITES="2", STANDIN_PAUSE=pause) as made:
            made.start_superlink()
            made.join_sites("a", "b")
            for case in CASES:
                if not words or any(word in case.name for word in words):
                    good, row = run(case, made)
                    print(row, flush=True)
                    results.append(good)
            for client in made.clients.values():
                processes.stop(client, 20.0)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
