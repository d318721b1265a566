"""What a federated phase costs beyond the vault's computing: real processes, vaults that answer
at once, TLS, node keys and SQLite on loopback.

    python -m benchmarks.phase_overhead --sites 2 --rounds 6 --floats 1000
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from tests.support.realfederation import Federation, wait_for


def measure(n_sites: int, n_rounds: int, n_floats: int) -> tuple[list[float], float]:
    """Seconds of each train phase, in which every site receives and returns ``n_floats`` float32;
    processor seconds of the SuperLink a phase, which depend less on what else the machine does."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Federation(
            Path(folder),
            standin=True,
            STANDIN_SITES=str(n_sites),
            STANDIN_ROUNDS=str(n_rounds + 1),
            STANDIN_FLOATS=str(n_floats),
        ) as federation,
    ):
        federation.start_superlink()
        federation.join_sites(*(f"site{i}" for i in range(n_sites)))
        run = federation.submit()
        before = processor_seconds(federation.superlink.pid)
        # To ask the SuperLink for the run's state, often, would be part of what is measured.
        wait_for((Path(folder) / "times.json").exists, 600.0, federation.told)
        used = processor_seconds(federation.superlink.pid) - before
        state = federation.finish(run, 600.0)
        if state.outcome != "completed":
            raise SystemExit(federation.told())
        seconds = [phase["seconds"] for phase in federation.times()[1:]]
        return seconds, used / (n_rounds + 1)


def processor_seconds(process: int) -> float:
    """What the process has used so far, its threads included."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print median, least and greatest seconds a phase."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--floats", type=int, default=1000, help="weights of all arms together")
    options = parser.parse_args()
    seconds, used = measure(options.sites, options.rounds, options.floats)
    print(
        f"{options.sites} sites, {options.floats * 4 / 1e6:.3g} MB each way: "
        f"median {statistics.median(seconds):.1f} s a phase "
        f"({min(seconds):.1f} .. {max(seconds):.1f}, n = {len(seconds)}); "
        f"the SuperLink's processor {used:.2f} s a phase"
    )


if __name__ == "__main__":
    main()
