"""Runs a benchmark row by row; what is finished is kept, and is not run again."""

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from infomri_core import __version__
from infomri_core.benchmark.benchmark import Benchmark, Figures, Request, Row
from infomri_core.system.errors import InputError
from infomri_core.system.files import disk_errors_explained, write_atomically
from infomri_core.system.progress import Progress

RESULTS = "results.json"
TABLE = "table.md"


def run_benchmark(benchmark: Benchmark, request: Request, folder: Path, progress: Progress) -> str:
    """Run what is missing in ``folder`` and write ``table.md`` and ``results.json`` there; return
    the table. Raises ``InputError`` when the folder holds rows of another request."""
    rows = benchmark.rows(request)
    found = _read(folder, benchmark, request)
    continues = "the rows that are finished are kept; make room and give the same command again"
    with progress.phase(benchmark.name, unit="rows", total=len(rows)) as advance:
        for row in rows:
            if row.key not in found:
                found[row.key] = _run(row, request)
                with disk_errors_explained(folder, continues):
                    _write(folder, benchmark, request, found)
            advance()
    return benchmark.table(figures_of(found))


def figures_of(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Figures]:
    """The figures of rows as they are stored."""
    return {key: row["figures"] for key, row in found.items()}


def _run(row: Row, request: Request) -> dict[str, Any]:
    start, cpu = time.monotonic(), time.process_time()
    figures = dict(row.run())
    return {
        "figures": figures,
        "schedule": row.schedule,
        "seconds": round(time.monotonic() - start, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "environment": _environment(request.device),
    }


def _environment(device: str) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
    return {
        "infomri": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": f"{device} ({name}), {torch.get_num_threads()} threads",
    }


def _write(folder: Path, benchmark: Benchmark, request: Request, found: Mapping[str, Any]) -> None:
    whole = {"benchmark": benchmark.name, "request": asdict(request), "rows": found}
    write_atomically(folder / RESULTS, (json.dumps(whole, indent=1) + "\n").encode())
    table = benchmark.table(figures_of(found))
    write_atomically(folder / TABLE, (table + "\n").encode())


def _read(folder: Path, benchmark: Benchmark, request: Request) -> dict[str, Any]:
    path = folder / RESULTS
    if not path.exists():
        return {}
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        before = (whole["benchmark"], whole["request"])
        found: dict[str, Any] = whole["rows"]
    except (ValueError, KeyError, TypeError):
        got = "a damaged file"
        raise InputError(
            str(path), "results of a benchmark", got, "choose another --out"
        ) from None
    asked = (benchmark.name, asdict(request))
    if before != asked:
        got = f"{before[0]} with {_words(before[1])}"
        expected = f"{asked[0]} with {_words(asked[1])}"
        raise InputError(str(folder), expected, got, "choose another --out to begin again")
    return found


def _words(request: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in request.items())
