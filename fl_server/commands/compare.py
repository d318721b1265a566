"""``infomri compare``: two studies side by side."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from fl_server.report.comparison import Finished, Pair

WIDTH = 108
_HEADERS = {"auroc": "AUROC", "psnr_worst": "strongest\nattack, dB", "psnr_gain": "gain, dB"}
_FORMS = {"auroc": "{:.3f}", "psnr_worst": "{:.1f}", "psnr_gain": "{:+.1f}"}
_CHANGES = {"auroc": "{:+.3f}", "psnr_worst": "{:+.1f}", "psnr_gain": "{:+.1f}"}


def compare(
    first: Annotated[Path, typer.Argument(help="A run's folder, or its results.json.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show two completed studies side by side, arm by arm, and what differs in their plans.

    A change is the second minus the first, with its 95 % interval: the conservative one, as
    nothing is known of how two studies err together. A change of AUROC is marked * where it
    leaves out zero.

    Example: `infomri compare runs/knee-123 runs/knee-124`
    """
    from fl_server.report.comparison import read_finished, to_json

    a, b = read_finished(first), read_finished(second)
    if as_json:
        typer.echo(json.dumps(to_json(a, b), indent=2))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, WIDTH))
    console.print(_frontiers(a, b))
    _print_plans(console, a, b)


def _frontiers(first: "Finished", second: "Finished") -> Table:
    from fl_server.report.comparison import pairs

    made = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    made.title = f"first: {first.name}   second: {second.name}"
    made.add_column("arm", overflow="fold")
    made.add_column("at", justify="right")
    for header in _HEADERS.values():
        made.add_column(f"{header}\nfirst", justify="right", no_wrap=True)
        made.add_column("\nsecond" if "\n" not in header else "\n\nsecond", justify="right")
        made.add_column("\nchange" if "\n" not in header else "\n\nchange", justify="right")
    for pair in pairs(first.rows, second.rows):
        made.add_row(pair.arm, f"{pair.acceleration:g}x", *_cells(pair))
    return made


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


def _print_plans(console: Console, first: "Finished", second: "Finished") -> None:
    from fl_server.report.comparison import plan_differences

    if first.plan is None or second.plan is None:
        console.print("The plans are not compared: a plan.toml is missing beside the results.")
        return
    if first.plan.text == second.plan.text:
        console.print("Both ran the same plan.")
        return
    made = Table("setting", "first", "second", box=box.SIMPLE_HEAD, pad_edge=False)
    made.title = "What differs in the plans"
    for key, (a, b) in plan_differences(first.plan, second.plan).items():
        made.add_row(key, *("-" if value is None else str(value) for value in (a, b)))
    console.print(made)
