"""A benchmark keeps each row as it finishes, runs only what is missing, and mixes no requests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from fl_server.cli import app
from infomri_core.benchmark.benchmark import Benchmark, Figures, Request, Row
from infomri_core.benchmark.documents import put_into
from infomri_core.benchmark.runner import run_benchmark
from infomri_core.system.errors import InputError
from infomri_core.system.progress import ConsoleProgress

QUIET = ConsoleProgress(Console(quiet=True))


class Counted(Benchmark):
    """Three rows that count how often they ran; the second fails until ``mended``."""

    name, reproduces, data = "counted", "nothing", "anything"
    cost = {"small": "none", "full": "none"}  # noqa: RUF012

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.mended = False

    def rows(self, request: Request) -> Sequence[Row]:
        return [Row(key, "at once", self._run(key)) for key in ("a", "b", "c")]

    def table(self, found: Mapping[str, Figures]) -> str:
        return "\n".join(f"| {key} | {figures['psnr']:g} |" for key, figures in found.items())

    def _run(self, key: str):
        def run() -> Figures:
            if key == "b" and not self.mended:
                raise KeyboardInterrupt
            self.ran.append(key)
            return {"psnr": float(len(self.ran))}

        return run


def test_an_interrupted_benchmark_continues_with_what_is_missing(tmp_path: Path) -> None:
    benchmark, request = Counted(), Request("x")
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(benchmark, request, tmp_path, QUIET)
    assert json.loads((tmp_path / "results.json").read_text())["rows"].keys() == {"a"}
    benchmark.mended = True
    table = run_benchmark(benchmark, request, tmp_path, QUIET)
    assert benchmark.ran == ["a", "b", "c"]
    assert table == "| a | 1 |\n| b | 2 |\n| c | 3 |"
    assert (tmp_path / "table.md").read_text().strip() == table
    assert run_benchmark(benchmark, request, tmp_path, QUIET) == table
    assert benchmark.ran == ["a", "b", "c"]


def test_a_folder_of_another_request_is_refused(tmp_path: Path) -> None:
    benchmark = Counted()
    benchmark.mended = True
    run_benchmark(benchmark, Request("x"), tmp_path, QUIET)
    with pytest.raises(InputError, match=r"n_seeds 3.*n_seeds 2|n_seeds 2.*n_seeds 3"):
        run_benchmark(benchmark, Request("x", n_seeds=2), tmp_path, QUIET)


@pytest.mark.parametrize("text", ["{", "[]", '{"benchmark": "counted"}'])
def test_damaged_results_are_refused_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match="damaged"):
        run_benchmark(Counted(), Request("x"), tmp_path, QUIET)
    assert (tmp_path / "results.json").read_text() == text


def test_a_table_replaces_what_stood_between_its_comments(tmp_path: Path) -> None:
    document = tmp_path / "results.md"
    document.write_text("before\n<!-- benchmark t -->\nold\n<!-- end t -->\nafter\n")
    for _ in range(2):
        put_into(document, "t", "| new |")
    text = document.read_text()
    assert text == "before\n<!-- benchmark t -->\n\n| new |\n\n<!-- end t -->\nafter\n"
    with pytest.raises(InputError, match="benchmark u"):
        put_into(document, "u", "| new |")


def test_the_command_lists_and_refuses() -> None:
    listed = CliRunner().invoke(app, ["benchmark", "list"])
    assert listed.exit_code == 0 and "prom-table1" in listed.output
    for arguments, said in (
        (["prom-tabel1", "--data", "x"], "prom-table1"),
        (["prom-table1"], "--data"),
        (["prom-table1", "--data", "x", "--budget", "tiny"], "small or full"),
    ):
        result = CliRunner().invoke(app, ["benchmark", *arguments])
        assert isinstance(result.exception, InputError) and said in str(result.exception)
