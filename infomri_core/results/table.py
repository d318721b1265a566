"""The frontier as a table for the terminal, with the words to read it by."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.text import Text

from infomri_core.results import trained_against, trainings
from infomri_core.results.frontier import (
    FEDERATED,
    Row,
    answer_in,
    attacks,
    label,
    pareto,
    utility_of,
)
from infomri_core.results.measuring_less import META as MEASURING_LESS
from infomri_core.results.measuring_less import sentence
from infomri_core.results.trained_against import MARK, weaker_judge
from infomri_core.system.screen_table import Column, ScreenTable
from infomri_core.tasks.figures import Figure

CAPTION = (
    "{utility} says how well the task is done ({reading}), with its 95 % interval. PSNR says in "
    "dB how well an attack rebuilds the image from the measurement: lower is more private, and "
    "only the strongest attack counts. Gain is what the measurement gave that attack beyond the "
    "floor, the best answer of someone who measured nothing. The ideal is a strongest attack no "
    "better than '{answer}', which is what the model's answer alone gives away. Linkage is the "
    "share of patients found among candidate scans by their measurement, whatever the PSNR. "
    "Redundancy is the share of points measured twice, by conjugate symmetry."
)


_CAPTIONED = ("study", MEASURING_LESS, "evaluation_noise")


def table(
    rows: Sequence[Row], meta: Mapping[str, Any] | None = None, *, every_attack: bool = True
) -> ScreenTable:
    """The frontier with a column an attack, or, without ``every_attack``, with the strongest only
    and narrow enough for 80 columns: names fold, and intervals have a line of their own.

    ``meta`` may name the ``study``; rows that are Pareto-optimal among all are marked ●, attacks
    that failed their own test *.
    """
    names = attacks(rows) if every_attack else []
    columns = [Column("", "pareto-optimal"), Column("arm", prose=not every_attack)]
    title, within = utility_of(rows).title, "95 % interval" if every_attack else "95 %"
    columns += [Column("at", right=True)]
    columns += [Column(f"{title}\n({within})", f"{title} (95 % interval)", right=True)]
    columns += [Column(f"PSNR\n{name}", right=True) for name in names]
    answer = answer_in(rows)
    broken = f"{answer[:4]}-\n{answer[4:]}"
    headings = ("strong-\nest", "floor", "gain", broken, "link-\nage", "redun-\ndancy")
    columns += [Column(heading, right=True) for heading in headings]
    best = _best(rows)
    gap = " " if every_attack else "\n"
    cells = [_cells(row, rows, names, id(row) in best, gap) for row in rows]
    ends = {i for i, (a, b) in enumerate(pairwise(rows)) if a.arm != b.arm}
    return ScreenTable(
        columns, cells, _title(rows, meta or {}), _caption(rows, meta or {}), frozenset(ends)
    )


def caption_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What of a study's ``meta`` the table's title and caption need, as JSON."""
    return {name: meta[name] for name in _CAPTIONED if name in meta}


def print_frontier(console: Console, rows: Sequence[Row], meta: Mapping[str, Any]) -> None:
    """The frontier, without the columns of single attacks on a terminal that is too narrow."""
    whole = table(rows, meta)
    shown = whole if whole.fits(console) else table(rows, meta, every_attack=False)
    shown.print(console)


def _best(rows: Sequence[Row]) -> set[int]:
    return {id(row) for row in pareto(rows)}


def _cells(
    row: Row, rows: Sequence[Row], names: Sequence[str], best: bool, gap: str
) -> list[str | Text]:
    return [
        "●" if best else "",
        label(row, rows),
        f"{row.acceleration:g}x",
        _utility(row, utility_of([row]), gap),
        *(_attack(row, name) for name in names),
        Text(_number(row.psnr_worst, "{:.1f}".format), "bold"),
        _number(row.psnr_prior, "{:.1f}".format),
        _number(row.psnr_gain, "{:+.1f}".format),
        _number(row.psnr_answer, "{:.1f}".format),
        _number(row.linkage_same_rank1, "{:.0%}".format),
        _number(row.redundancy, "{:.0%}".format),
    ]


def _attack(row: Row, name: str) -> str:
    text = _number(row.psnr.get(name), "{:.1f}".format)
    weak = name in row.psnr and name not in row.certified
    against = MARK if name in row.psnr and weaker_judge(row, name) else ""
    return f"{text}{against}*" if weak else f"{text}{against or ' '}"


def _utility(row: Row, figure: Figure, gap: str) -> str:
    found = row.utility
    if found.value is None:
        return "undefined"
    if found.low is None or found.high is None:
        return figure.form(found.value)
    return f"{figure.form(found.value)}{gap}({figure.span(found.low, found.high)})"


def _number(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)


def _title(rows: Sequence[Row], meta: Mapping[str, Any]) -> str:
    return " ".join(("Privacy/utility frontier", str(meta.get("study", "")))).strip()


def _caption(rows: Sequence[Row], meta: Mapping[str, Any]) -> str:
    figure = utility_of(rows)
    reading = f"{figure.reading}; {figure.scale}"
    text = CAPTION.format(utility=figure.title, reading=reading, answer=answer_in(rows))
    if _best(rows):
        text += " ● Pareto-optimal: no other arm at any acceleration is better on both."
    text += " " * bool(rival := sentence(rows, meta)) + rival
    text += " " * bool(worth := trainings.sentence(rows)) + worth
    text += " " * bool(mild := trained_against.sentence(rows)) + mild
    if any(name not in row.certified for row in rows for name in row.psnr):
        text += (
            " * this attack failed its test on images it should have rebuilt: it is weak, and its "
        )
        text += "low PSNR is not evidence of privacy."
    own = [row for row in rows if row.training == FEDERATED] or rows
    if groups := sorted({n for row in own if (n := row.utility.n_groups) is not None}):
        text += f" Intervals stand on {_range(groups)} groups of patients; one gives none."
    elif meta.get("evaluation_noise"):
        text += (
            " Intervals stand on the number of patients and the known noise of the sums: under "
            "noise one vector leaves a site, and no groups."
        )
    sizes = sorted({row.n_audit for row in own})
    if sizes:
        text += f" The attacks were fitted on {_range(sizes)} audit slices"
        text += f" and scored on {_range(sorted({row.n_patients for row in own}))} patients."
    return text


def _range(values: Sequence[int]) -> str:
    return f"{values[0]}" if values[0] == values[-1] else f"{values[0]} to {values[-1]}"
