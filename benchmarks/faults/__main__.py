"""Run faults and print their table; ``--docs`` writes it into ``docs/operations.md``."""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.faults.fault import Shot, schedule, smallest
from benchmarks.faults.registry import BY_NAME, FAULTS
from benchmarks.faults.run import Result, run
from benchmarks.markdown import table_line

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
HEAD = ("fault", "studies", "ended", "took longer by", "weights, results", "the operator reads")


def table(results: Iterable[Result]) -> list[str]:
    """One line a kind: how many studies, how they ended, the median of the time that it cost."""
    kinds: dict[str, list[Result]] = {}
    for result in results:
        kinds.setdefault(result.shot.fault, []).append(result)
    lines = [table_line(HEAD), table_line(["---"] * len(HEAD))]
    for name in sorted(kinds):
        of_kind = kinds[name]
        shown = [r for r in of_kind if r.ended.startswith("completed")]
        endings = sorted({r.ended or f"LOST: {r.why}" for r in of_kind})
        extra = f"{statistics.median(r.extra for r in shown):.0f} s" if shown else ""
        apart = max((r.distance for r in shown), default=0.0)
        masked = BY_NAME[name].secure
        same = "" if masked or not shown else f"within {apart:.0e}" if apart else "bit for bit"
        same = f"weights {same}" if same and not BY_NAME[name].scored else same
        told = next((r.line or r.why for r in of_kind if r.line or r.why), "")
        told = f"`{told.replace('`', '').replace('|', '/')[:160]}`" if told else ""
        lines.append(table_line([name, str(len(of_kind)), "; ".join(endings), extra, same, told]))
    return lines


def about(source: str, results: Sequence[Result]) -> str:
    """When, where and from what a table is: a seed, or files of results."""
    lost = sum(result.lost for result in results)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, no GPU"
    return (
        f"{time.strftime('%Y-%m-%d')}, {machine}, {source}: {len(results)} studies, {lost} lost."
    )


def write_docs(path: Path, text: str) -> None:
    """Put ``text`` between the marks in a document."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def stored(paths: Sequence[Path]) -> list[Result]:
    """The results in files, of runs in several parts; the last of a number and seed counts."""
    lines = [line for path in paths for line in path.read_text().splitlines()]
    made = [Result.from_json(json.loads(line)) for line in lines]
    return list({result.shot: result for result in made}.values())


def shown(shots: Sequence[Shot], path: Path | None) -> list[Result]:
    """Run a schedule, print each result as it comes, and append it to the file at ``path``."""
    results = []
    for result in run(shots):
        results.append(result)
        shot, ended = result.shot, result.ended or "LOST"
        print(f"{shot.number} {shot.fault} ({shot.phase}, {shot.site}): {ended}, {result.why}")
        sys.stdout.flush()
        if path is not None:
            with path.open("a") as stream:
                stream.write(json.dumps(result.to_json()) + "\n")
    return results


def shrunk(shots: Sequence[Shot]) -> list[Shot]:
    """The least of a schedule whose last shot was lost."""

    def lost(some: Sequence[Shot]) -> bool:
        print(f"  again with {[s.number for s in some]}", file=sys.stderr, flush=True)
        return any(result.lost for result in run(some, loud=False))

    return smallest(shots, lost)


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 when no study was lost."""
    parser = argparse.ArgumentParser(prog="make faults ARGS=", description=__doc__)
    parser.add_argument("words", nargs="*", help="faults whose name holds a word; default: all")
    parser.add_argument("--random", type=int, default=0, help="so many random ones")
    parser.add_argument("--seed", type=int, default=1, help="of the schedule")
    parser.add_argument("--start", type=int, default=0, help="begin with this number")
    parser.add_argument("--list", action="store_true", help="print the schedule and stop")
    parser.add_argument("--shrink", action="store_true", help="find the least that is lost")
    parser.add_argument("--results", type=Path, help="append each result to this file, as JSON")
    parser.add_argument("--of", type=Path, nargs="+", help="run nothing: the table of results")
    parser.add_argument("--docs", action="store_true", help="write docs/operations.md")
    options = parser.parse_args(arguments)
    # What was started is stopped, and small disks go, when this is stopped itself.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    words = options.words
    chosen = [f for f in FAULTS if not words or any(word in f.name for word in words)]
    n = options.random or len(chosen)
    shots = schedule(chosen, options.seed, n)[options.start :]
    if options.list:
        print("\n".join(map(str, shots)))
        return 0
    results = stored(options.of) if options.of else shown(shots, options.results)
    source = f"seed {options.seed}" if options.random else "every fault by name"
    source = f"load {os.getloadavg()[0]:.0f}, {source}"
    if options.of:
        source = ", ".join(path.stem for path in options.of)
    text = "\n".join([about(source, results), "", *table(results)])
    print(f"\n{text}", flush=True)
    if options.docs:
        write_docs(ROOT / "docs" / "operations.md", text)
    lost = next((i for i, result in enumerate(results) if result.lost), None)
    if lost is not None and options.shrink:
        least = shrunk([result.shot for result in results[: lost + 1]])
        print(f"the least that is lost: {least}")
    return int(lost is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
