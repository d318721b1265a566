"""What the platform costs beside the network it trains.

    python -m benchmarks.bench [--parts step startup aggregation phases] [--times 10] [--json FILE]

One thread and processor time, the things compared in turns: ratios hold on a machine that others
use, times do not. ``phases`` starts a real federation of three sites and measures wall time.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch

from benchmarks.bench import aggregation, startup, step

Table = dict[str, dict[str, float]]


def phases(n_times: int) -> Table:
    """Wall seconds of a train phase whose vaults answer at once, median of ``n_times``."""
    from benchmarks.phase_overhead import measure

    found = {}
    for n_floats, goal in ((1000, 1.0), (11_180_000, 3.0)):
        seconds, used = measure(3, n_times, n_floats)
        found[f"3 sites, {4 * n_floats / 1e6:.3g} MB"] = {
            "wall, s": statistics.median(seconds),
            "SuperLink's processor, s": used,
            "goal": goal,
        }
    return found


PARTS = {
    "step": step.table,
    "startup": startup.table,
    "aggregation": aggregation.table,
    "phases": phases,
}


def markdown(table: Table) -> str:
    """One row a setting; columns in the order in which they first appear."""
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    lines = ["| | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    for setting, row in table.items():
        cells = [f"{row[name]:.3g}" if name in row else "" for name in columns]
        lines.append(f"| {setting} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print a Markdown table a part; write all of them to ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["step", "startup"])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables = {}
    for name in options.parts:
        tables[name] = PARTS[name](options.times)
        print(markdown(tables[name]), end="\n\n", flush=True)
        if options.json:
            options.json.write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
