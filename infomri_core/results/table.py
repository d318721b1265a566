"""The frontier as a table for the terminal, with the words to read it by."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from infomri_core.results.frontier import Row, attacks, label, pareto

FULL_WIDTH = 108
CAPTION = (
    "AUROC says how well the diagnosis works (1 is perfect, 0.5 is guessing), with its 95 % "
    "interval. PSNR says in dB how well an attack rebuilds the image from the measurement: lower "
    "is more private, and only the strongest attack counts. Gain is what the measurement gave "
    "that attack beyond the floor, the best answer of someone who measured nothing. The ideal is "
    "a strongest attack no better than 'diagnosis', which is what the model's answer alone gives "
    "away. Redundancy is the share of points measured twice, by conjugate symmetry."
)


def table(
    rows: Sequence[Row], meta: Mapping[str, Any] | None = None, width: int = FULL_WIDTH
) -> Table:
    """A table of at most 120 columns for up to four attacks; narrower than that, without the
    columns of the single attacks.

    ``meta`` may name the ``study``; arms that no other arm beats at the same acceleration are
    marked ●, attacks that failed their own test *.
    """
    names = attacks(rows) if width >= FULL_WIDTH else []
    result = Table(
        box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, title=_title(rows, meta or {})
    )
    result.title_style, result.caption_style, result.caption_justify = "bold", "dim", "left"
    result.caption = _caption(rows)
    result.add_column("", width=1)
    result.add_column("arm", no_wrap=True, max_width=26)
    for header in ("at", "AUROC\n(95 % interval)"):
        result.add_column(header, justify="right", no_wrap=True)
    for name in names:
        result.add_column(f"PSNR\n{name}", justify="right", no_wrap=True)
    for header in ("strong-\nest", "floor", "gain", "diag-\nnosis", "redun-\ndancy"):
        result.add_column(header, justify="right", no_wrap=True)
    best = _best(rows)
    for i, row in enumerate(rows):
        last = i + 1 == len(rows) or rows[i + 1].acceleration != row.acceleration
        result.add_row(*_cells(row, rows, names, id(row) in best), end_section=last)
    return result


def _best(rows: Sequence[Row]) -> set[int]:
    return {
        id(row)
        for acceleration in {row.acceleration for row in rows}
        for row in pareto(row for row in rows if row.acceleration == acceleration)
    }


def _cells(row: Row, rows: Sequence[Row], names: Sequence[str], best: bool) -> list[str]:
    return [
        "●" if best else "",
        label(row, rows),
        f"{row.acceleration:g}x",
        _auroc(row),
        *(_attack(row, name) for name in names),
        _number(row.psnr_worst, "[bold]{:.1f}[/bold]".format),
        _number(row.psnr_prior, "{:.1f}".format),
        _number(row.psnr_gain, "{:+.1f}".format),
        _number(row.psnr_diagnosis, "{:.1f}".format),
        _number(row.redundancy, "{:.0%}".format),
    ]


def _attack(row: Row, name: str) -> str:
    text = _number(row.psnr.get(name), "{:.1f}".format)
    weak = name in row.psnr and name not in row.certified
    return f"{text}*" if weak else f"{text} "


def _auroc(row: Row) -> str:
    if row.auroc is None:
        return "undefined"
    if row.auroc_low is None or row.auroc_high is None:
        return f"{row.auroc:.3f}"
    return f"{row.auroc:.3f} ({row.auroc_low:.3f}-{row.auroc_high:.3f})"


def _number(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)


def _title(rows: Sequence[Row], meta: Mapping[str, Any]) -> str:
    return " ".join(("Privacy/utility frontier", str(meta.get("study", "")))).strip()


def _caption(rows: Sequence[Row]) -> str:
    text = CAPTION
    if _best(rows):
        text += " ● no other arm at this acceleration is better on both."
    if any(name not in row.certified for row in rows for name in row.psnr):
        text += " * this attack failed its test on images it should have rebuilt: it is weak."
    if groups := sorted({row.auroc_groups for row in rows if row.auroc_groups is not None}):
        text += f" Intervals stand on {_range(groups)} groups of patients; one gives none."
    sizes = sorted({row.n_audit for row in rows})
    if sizes:
        text += f" The attacks were fitted on {_range(sizes)} audit slices"
        text += f" and scored on {_range(sorted({row.n_patients for row in rows}))} patients."
    return text


def _range(values: Sequence[int]) -> str:
    return f"{values[0]}" if values[0] == values[-1] else f"{values[0]} to {values[-1]}"
