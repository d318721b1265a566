"""``infomri compare``: one study, or two side by side."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fl_server.report.comparison import Finished, Pair
    from infomri_core.system.screen_table import ScreenTable

_HEADERS = {"auroc": "AUROC", "psnr_worst": "strongest\nattack, dB", "psnr_gain": "gain, dB"}
_FORMS = {"auroc": "{:.3f}", "psnr_worst": "{:.1f}", "psnr_gain": "{:+.1f}"}
_CHANGES = {"auroc": "{:+.3f}", "psnr_worst": "{:+.1f}", "psnr_gain": "{:+.1f}"}
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
    nothing is known of how two studies err together. A change of AUROC is marked * where it
    leaves out zero.

    Example: `infomri compare runs/knee-123 runs/knee-124`
    """
    from rich.console import Console

    from fl_server.report.comparison import read_finished, to_json
    from infomri_core.results import frontier
    from infomri_core.results.table import print_frontier, table

    a = read_finished(first)
    if second is None:
        if as_json:
            rows = [frontier.to_json(row) for row in a.rows]
            typer.echo(json.dumps({"run": a.name, "rows": rows}, indent=2))
        elif as_csv:
            typer.echo(table(a.rows).csv(), nl=False)
        else:
            print_frontier(Console(), a.rows, {"study": a.name})
        return
    b = read_finished(second)
    if as_json:
        typer.echo(json.dumps(to_json(a, b), indent=2))
        return
    shown, plans = _frontiers(a, b), _plans(a, b)
    if as_csv:
        typer.echo(shown.csv(), nl=False)
        return
    console = Console()
    shown.print(console)
    console.print(plans) if isinstance(plans, str) else plans.print(console)


def _frontiers(first: "Finished", second: "Finished") -> "ScreenTable":
    from fl_server.report.comparison import pairs
    from infomri_core.results.frontier import labels
    from infomri_core.system.screen_table import Column, ScreenTable

    columns = [Column("arm"), Column("at", right=True)]
    for header in _HEADERS.values():
        gap = "\n" * header.count("\n")
        flat = header.replace("\n", " ")
        columns += [
            Column(f"{header}\nfirst", f"{flat} first", right=True),
            Column(f"{gap}\nsecond", f"{flat} second", right=True),
            Column(f"{gap}\nchange", f"{flat} change", right=True),
        ]
    names = labels([*first.rows, *second.rows])
    rows = [
        (names[pair.arm], f"{pair.acceleration:g}x", *_cells(pair))
        for pair in pairs(first.rows, second.rows)
    ]
    return ScreenTable(columns, rows, f"first: {first.name}   second: {second.name}")


def _cells(pair: "Pair") -> list[str]:
    cells = []
    for name in _HEADERS:
        a, b = pair.figures(name)
        mark = "*" if name == "auroc" and pair.apart else ""
        intervals = (
            (_interval(pair.first), _interval(pair.second)) if name == "auroc" else ("", "")
        )
        cells += [_text(a, _FORMS[name]) + intervals[0], _text(b, _FORMS[name]) + intervals[1]]
        ends = pair.interval(name)
        within = "" if ends is None else "\n" + " ".join(_CHANGES[name].format(e) for e in ends)
        cells.append(_text(pair.change(name), _CHANGES[name]) + mark + within)
    return cells


def _interval(row: Any) -> str:
    if row is None or row.auroc_low is None or row.auroc_high is None:
        return ""
    return f"\n{row.auroc_low:.3f}-{row.auroc_high:.3f}"


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


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
