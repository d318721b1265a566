"""What a federated phase costs beyond the vault's computing: real processes, vaults that answer
at once, TLS, node keys and SQLite on loopback.

    python -m benchmarks.phase_overhead --sites 2 --rounds 6 --floats 1000
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from tests.support.realfederation import Federation


def measure(n_sites: int, n_rounds: int, n_floats: int) -> list[float]:
    """Seconds of each train phase; every site receives and returns ``n_floats`` float32."""
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
        state = federation.finish(federation.submit(), 600.0)
        if state.outcome != "completed":
            raise SystemExit(federation.told())
        return [phase["seconds"] for phase in federation.times()[1:]]


def main() -> None:
    """Print median, least and greatest seconds a phase."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--floats", type=int, default=1000, help="weights of all arms together")
    options = parser.parse_args()
    seconds = measure(options.sites, options.rounds, options.floats)
    print(
        f"{options.sites} sites, {options.floats * 4 / 1e6:.3g} MB each way: "
        f"median {statistics.median(seconds):.1f} s a phase "
        f"({min(seconds):.1f} .. {max(seconds):.1f}, n = {len(seconds)})"
    )


if __name__ == "__main__":
    main()
