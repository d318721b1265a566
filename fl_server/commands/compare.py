"""``infomri compare``: one study, or two side by side."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fl_server.report.comparison import Finished, Pair
    from infomri_core.results.frontier import Row
    from infomri_core.system.screen_table import ScreenTable
    from infomri_core.tasks.figures import Figure

_HEADERS = {"psnr_worst": "strongest\nattack, dB", "psnr_gain": "gain, dB"}
_FORMS = {"psnr_worst": "{:.1f}", "psnr_gain": "{:+.1f}"}
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")]


def compare(
    first: Annotated[Path, typer.Argument(help="A run's folder, or its results.json.")],
    second: Annotated[
        Path | None, typer.Argument(help="Another one; without it, the first is shown alone.")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show two completed studies side by side, arm by arm, and what differs in their plans.

    A change is the second minus the first, with its 95 % interval: the conservative one, as
    nothing is known of how two studies err together. A change of the task's figure is marked *
    where it leaves out zero.

    Example: `infomri compare runs/knee-123 runs/knee-124`
    """
    from rich.console import Console

    from fl_server.report.comparison import read_finished, to_csv, to_json
    from infomri_core.results import frontier
    from infomri_core.results.table import print_frontier, table

    a = read_finished(first)
    if second is None:
        if as_json:
            rows = [frontier.to_json(row) for row in a.rows]
            typer.echo(json.dumps({"run": a.name, "rows": rows}, indent=2))
        elif as_csv:
            typer.echo(table(a.rows, a.meta).csv(), nl=False)
        else:
            print_frontier(Console(), a.rows, {**a.meta, "study": a.name})
        return
    b = read_finished(second)
    if as_json:
        typer.echo(json.dumps(to_json(a, b), indent=2))
        return
    if as_csv:
        typer.echo(to_csv(a, b), nl=False)
        return
    shown, plans = _frontiers(a, b), _plans(a, b)
    console = Console()
    shown.print(console)
    console.print(plans) if isinstance(plans, str) else plans.print(console)


def _frontiers(first: "Finished", second: "Finished") -> "ScreenTable":
    from fl_server.report.comparison import pairs
    from infomri_core.results.frontier import labels, utility_of
    from infomri_core.system.screen_table import Column, ScreenTable

    columns = [Column("arm"), Column("at", right=True)]
    figure = utility_of(first.rows or second.rows)
    for header in (figure.title, *_HEADERS.values()):
        gap = "\n" * header.count("\n")
        flat = header.replace("\n", " ")
        columns += [
            Column(f"{header}\nfirst", f"{flat} first", right=True),
            Column(f"{gap}\nsecond", f"{flat} second", right=True),
            Column(f"{gap}\nchange", f"{flat} change", right=True),
        ]
    names = labels([*first.rows, *second.rows])
    rows = [
        (names[pair.arm], f"{pair.acceleration:g}x", *_cells(pair, figure))
        for pair in pairs(first.rows, second.rows)
    ]
    return ScreenTable(columns, rows, f"first: {first.name}   second: {second.name}")


def _cells(pair: "Pair", figure: "Figure") -> list[str]:
    a, b = pair.figures(figure.name)
    within = _within(pair, figure.name, figure.change)
    cells = [
        _text(a, figure.form) + _interval(pair.first, figure),
        _text(b, figure.form) + _interval(pair.second, figure),
        _text(pair.change(figure.name), figure.change) + ("*" if pair.apart else "") + within,
    ]
    for name, form in _FORMS.items():
        cells += [_text(value, form.format) for value in pair.figures(name)]
        change = "{:+.1f}".format
        cells.append(_text(pair.change(name), change) + _within(pair, name, change))
    return cells


def _within(pair: "Pair", name: str, form: Callable[[float], str]) -> str:
    ends = pair.interval(name)
    return "" if ends is None else "\n" + " ".join(map(form, ends))


def _interval(row: "Row | None", figure: "Figure") -> str:
    if row is None or row.utility.low is None or row.utility.high is None:
        return ""
    return f"\n{figure.span(row.utility.low, row.utility.high)}"


def _text(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)


def _plans(first: "Finished", second: "Finished") -> "ScreenTable | str":
    from fl_server.report.comparison import plan_differences
    from infomri_core.system.screen_table import Column, ScreenTable

    if first.plan is None or second.plan is None:
        return "The plans are not compared: a plan.toml is missing beside the results."
    if first.plan.text == second.plan.text:
        return "Both ran the same plan."
    columns = [Column("setting"), Column("first", prose=True), Column("second", prose=True)]
    rows = [
        (key, *("-" if value is None else str(value) for value in values))
        for key, values in plan_differences(first.plan, second.plan).items()
    ]
    return ScreenTable(columns, rows, "What differs in the plans")
