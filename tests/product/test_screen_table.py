"""Tables lose nothing: whatever the width of the terminal, every figure is there whole."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from infomri_core.system.screen_table import Column, ScreenTable
from infomri_core.tasks.figures import Figure

COLUMNS = [
    Column("run"),
    Column("AUROC\n(95 %)", "AUROC", right=True),
    Column("strong-\nest", right=True),
    Column("details", prose=True),
]
WORDS = st.text("abc123.-", min_size=1, max_size=30)


def shown(table: ScreenTable, width: int, *, terminal: bool = True) -> str:
    stream = io.StringIO()
    table.print(Console(file=stream, width=width, force_terminal=terminal, color_system=None))
    return stream.getvalue()


@given(
    st.lists(st.tuples(WORDS, WORDS, WORDS, st.lists(WORDS, max_size=6)), min_size=1, max_size=4),
    st.integers(50, 200),
    st.booleans(),
)
def test_no_figure_is_cut_at_any_width(
    rows: list[tuple[str, str, str, list[str]]], width: int, terminal: bool
) -> None:
    cells = [(*row[:3], " ".join(row[3])) for row in rows]
    text = shown(ScreenTable(COLUMNS, cells, "Runs"), width, terminal=terminal)
    assert "…" not in text
    for row in cells:
        assert all(figure in text for figure in row[:3])
    if terminal:
        assert max(map(len, text.splitlines())) <= width


def test_a_pipe_gets_the_whole_table_and_a_narrow_terminal_a_list() -> None:
    table = ScreenTable(COLUMNS, [("1" * 30, "0.912 (0.850-0.960)", "22.4", "ok")] * 2)
    whole = shown(table, 40, terminal=False).splitlines()
    assert sum("1" * 30 in line and "22.4" in line for line in whole) == 2
    assert "strongest" in shown(table, 40)


def test_a_cell_of_several_words_is_whole_on_a_terminal() -> None:
    table = ScreenTable(
        [Column("interval", right=True)] * 5, [("0.912 (0.850-0.960)",) * 5], title="cells"
    )
    for width in range(50, 130, 10):
        assert shown(table, width).count("0.912 (0.850-0.960)") == 5


def test_markup_in_a_cell_is_text() -> None:
    table = ScreenTable([Column("name")], [("[red]x[/red]",)])
    assert "[red]x[/red]" in shown(table, 80)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS, st.text(max_size=9)), max_size=3))
def test_csv_holds_the_cells(rows: list[tuple[str, str, str, str]]) -> None:
    styled = [(Text(row[0], "red"), *row[1:]) for row in rows]
    read = list(csv.reader(io.StringIO(ScreenTable(COLUMNS, styled).csv(), newline="")))
    assert read[0] == ["run", "AUROC", "strongest", "details"]
    expected = [tuple(c.strip().replace("\n", "; ") for c in row) for row in rows]
    assert [tuple(row) for row in read[1:]] == expected


def test_the_minus_sign_of_an_interval_is_not_taken_for_a_dash() -> None:
    figure = Figure("ged", "1 - GED", "", "", digits=2)
    assert figure.span(0.25, 0.5) == "0.25-0.50"
    assert figure.span(-0.5, -0.25) == "-0.50 to -0.25"
