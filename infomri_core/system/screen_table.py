"""Tables on a terminal, in a pipe and as CSV: no figure and no name is ever cut off.

A table that is wider than the terminal becomes a list, a block a row; in a file or a pipe it has
the width that it needs.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_PROSE = 24
_CAPTION = 108
_UNLIMITED = 10_000


@dataclass(frozen=True)
class Column:
    """A column's heading, which may have lines, and its ``name`` in a list and in a CSV file.

    ``right`` sets figures to the right; only ``prose`` may be folded.
    """

    heading: str
    name: str = ""
    right: bool = False
    prose: bool = False

    @property
    def title(self) -> str:
        """The name, or the heading on one line."""
        return self.name or self.heading.replace("-\n", "").replace("\n", " ")


@final
@dataclass(frozen=True)
class ScreenTable:
    """Rows of text under ``columns``. A cell may be styled (``rich.text.Text``).

    ``ends``: numbers of the rows after which a group ends.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Text]]
    title: str = ""
    caption: str = ""
    ends: frozenset[int] = field(default_factory=frozenset)

    def print(self, console: Console) -> None:
        """As a table where it fits, else as a list."""
        least, most = self._widths(console)
        if not console.is_terminal and console.width < most:
            console = Console(file=console.file, width=most, no_color=True)
        if console.width < least:
            self._print_list(console)
        else:
            console.print(self._table())
        if self.caption:
            prose = min(console.width, _CAPTION)
            console.print(Text(self.caption, style="dim"), width=prose, highlight=False)

    def fits(self, console: Console) -> bool:
        """Whether nothing is cut as a table; a file or a pipe is as wide as it needs to be."""
        return not console.is_terminal or self._widths(console)[0] <= console.width

    def csv(self) -> str:
        """The cells, without styles and each on one line, under the columns' names."""
        stream = io.StringIO()
        writer = csv.writer(stream)
        writer.writerow([column.title or "mark" for column in self.columns])
        writer.writerows(
            [_plain(cell).strip().replace("\n", "; ") for cell in row] for row in self.rows
        )
        return stream.getvalue()

    def _table(self) -> Table:
        made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        made.title, made.title_style = self.title or None, "bold"
        for column in self.columns:
            made.add_column(
                column.heading,
                justify="right" if column.right else "left",
                no_wrap=not column.prose,
                min_width=self._least_width(column),
                overflow="fold",
            )
        for number, row in enumerate(self.rows):
            made.add_row(*map(_text, row), end_section=number in self.ends)
        return made

    def _least_width(self, column: Column) -> int:
        """So many columns of a terminal at least: its longest line, or of prose its longest word,
        within reason."""
        at = list(self.columns).index(column)
        cells = [_plain(row[at]) for row in self.rows]
        if column.prose:
            return min(_PROSE, max(map(cell_len, " ".join(cells).split()), default=1))
        lines = "\n".join([column.heading, *cells]).split("\n")
        return max(map(cell_len, lines))

    def _widths(self, console: Console) -> tuple[int, int]:
        """The least width in which nothing is cut, and the one in which nothing is folded."""
        wide = console.options.update(width=_UNLIMITED, max_width=_UNLIMITED)
        measured = Measurement.get(console, wide, self._table())
        return measured.minimum, min(measured.maximum, _UNLIMITED)

    def _print_list(self, console: Console) -> None:
        if self.title:
            console.print(Text(self.title, style="bold"))
        width = max(len(column.title) for column in self.columns)
        for row in self.rows:
            grid = Table.grid(padding=(0, 2))
            grid.add_column(min_width=min(width, math.ceil(console.width / 2)), overflow="fold")
            grid.add_column(overflow="fold")
            for column, cell in zip(self.columns, row):
                if _plain(cell).strip():
                    grid.add_row(column.title, _text(cell))
            console.print(Padding(grid, (0, 0, 1, 0)))


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def _plain(cell: str | Text) -> str:
    return cell.plain if isinstance(cell, Text) else cell
