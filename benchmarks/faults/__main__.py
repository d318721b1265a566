"""Run the cases and print the table of ``docs/operations.md``."""

import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.cases import CASES, Case
from benchmarks.faults.kinds import NotHere
from benchmarks.faults.world import World, wait_for
from benchmarks.markdown import table_line
from infomri_core.machine import processes

HEAD = ("fault", "the study", "took", "weights", "ledgers", "the operator reads")


def run(case: Case, folder: Path) -> tuple[bool, list[str]]:
    """Whether all went as it should, and the cells of the case's row."""
    started = time.monotonic()
    name = "".join(c if c.isalnum() else "-" for c in case.name)
    try:
        with World(folder, name, **case.training) as world:
            try:
                line = case.course(world)
                outcome = world.state().outcome
            except AssertionError:
                print(world.told(), file=sys.stderr)
                raise
            seconds = time.monotonic() - started
            for client in world.clients.values():
                processes.stop(client, 20.0)
        wait_for(lambda: world.pids() == [], 20, lambda: str(world.pids()))
        same = world.undisturbed() if case.same_participants else None
        n, approved = world.ledgers()
    except NotHere as reason:
        return True, [case.name, f"not shown here: {reason}", "", "", "", ""]
    except Exception:
        traceback.print_exc()
        return False, [case.name, "OTHERWISE", "", "", "", ""]
    how = "completed" if world.run_id == world.first_run else "completed when resumed"
    weights = {None: "of who took part", True: "bit for bit", False: "DIFFER"}[same]
    cells = [how if outcome == "completed" else outcome.upper(), f"{seconds:.0f} s", weights]
    good = outcome == "completed" and same is not False and approved and bool(line)
    ledgers = f"{n} entries, unbroken" if approved else "NOT APPROVED"
    told = f"`{line.replace('`', '')}`" if line else "NOTHING"
    return good, [case.name, *cells, ledgers, told]


def main(words: Sequence[str]) -> int:
    """Exit code 0 when every case ended as it should."""
    chosen = [case for case in CASES if not words or any(word in case.name for word in words)]
    cores, load = os.cpu_count(), os.getloadavg()[0]
    machine = f"{platform.system()} {platform.machine()}, {cores} cores, load {load:.0f}"
    print(f"{time.strftime('%Y-%m-%d')}, {machine}, seed 5\n\n{table_line(HEAD)}")
    print(table_line(["---"] * len(HEAD)), flush=True)
    results = []
    with tempfile.TemporaryDirectory(prefix="faults") as place:
        for number, case in enumerate(chosen):
            good, cells = run(case, Path(place) / str(number))
            print(table_line(cells), flush=True)
            results.append(good)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
