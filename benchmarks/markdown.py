"""A results.json as the Markdown table of docs/results.md.

Usage: ``python -m benchmarks.markdown runs/demo-x/results.json``
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from infomri_core.results.frontier import (
    Row,
    answer_in,
    attacks,
    label,
    read_results,
    utility_of,
)


def markdown(rows: Sequence[Row]) -> str:
    """One line an arm and acceleration; * marks an attack that failed its control."""
    names = attacks(rows)
    head = ["arm", "at", f"{utility_of(rows).title} (95 %)", *(f"{name} dB" for name in names)]
    head += ["strongest", "floor", "gain", answer_in(rows), "redundancy"]
    lines = [head, ["---"] * len(head), *(_cells(row, rows, names) for row in rows)]
    return "\n".join(map(table_line, lines))


def table_line(cells: Sequence[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _cells(row: Row, rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    weak = {name: "" if name in row.certified else "*" for name in names}
    psnr = [f"{row.psnr[n]:.1f}{weak[n]}" if n in row.psnr else "-" for n in names]
    return [
        label(row, rows),
        f"{row.acceleration:g}x",
        _utility(row),
        *psnr,
        _decibel(row.psnr_worst),
        _decibel(row.psnr_prior),
        _decibel(row.psnr_gain),
        _decibel(row.psnr_answer),
        "-" if row.redundancy is None else f"{row.redundancy:.0%}",
    ]


def _utility(row: Row) -> str:
    found, form = row.utility, utility_of([row]).form
    if found.value is None:
        return "undefined"
    if found.low is None or found.high is None:
        return form(found.value)
    return f"{form(found.value)} ({form(found.low)}-{form(found.high)})"


def _decibel(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    print(markdown(read_results(Path(sys.argv[1]))[0]))
