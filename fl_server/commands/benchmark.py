"""``infomri benchmark``: published tables, made again."""

from pathlib import Path
from typing import Annotated

import typer


def benchmark(
    name: Annotated[str, typer.Argument(help="A benchmark, or 'list'.")],
    data: Annotated[
        str, typer.Option("--data", help="Data URI; see `infomri benchmark list`.")
    ] = "",
    budget: Annotated[str, typer.Option("--budget", help="small or full.")] = "small",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds of rows with chance.")] = 3,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; default runs/benchmark-NAME.")
    ] = None,
    document: Annotated[
        Path | None,
        typer.Option("--document", help="Markdown file to put the table into, at its comments."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Make a published table again and set it beside the published figures.

    Every row is kept as it finishes: the same command again runs what is missing. results.json
    holds each row's figures, schedule, seconds, versions and device; table.md the table.

    Example: `infomri benchmark prom-table1 --data slices:acdc.h5?label=diagnosis_group`
    """
    from infomri_core.benchmark.benchmark import Request
    from infomri_core.benchmark.documents import put_into
    from infomri_core.benchmark.registry import BENCHMARKS
    from infomri_core.benchmark.runner import run_benchmark
    from infomri_core.system.device import pick_device
    from infomri_core.system.errors import InputError, nearest
    from infomri_core.system.files import check_output
    from infomri_core.system.progress import on_stderr

    if name == "list":
        for known in BENCHMARKS.values():
            typer.echo(f"{known.name}\n  {known.reproduces}\n  --data: {known.data}")
            for size, cost in known.cost.items():
                typer.echo(f"  --budget {size}: {cost}")
        return
    if name not in BENCHMARKS:
        hint = nearest(name, BENCHMARKS) or "see infomri benchmark list"
        raise InputError("benchmark", "a name of infomri benchmark list", f"'{name}'", hint)
    found = BENCHMARKS[name]
    if not data:
        raise InputError("benchmark: --data", found.data, "none", "name your data")
    folder = out or Path("runs") / f"benchmark-{name}"
    check_output(folder)
    request = Request(data, budget, seeds, pick_device(device))  # type: ignore[arg-type]
    table = run_benchmark(found, request, folder, on_stderr())
    typer.echo(table)
    if document is not None:
        put_into(document, name, table)
