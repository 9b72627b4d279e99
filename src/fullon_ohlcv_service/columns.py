"""Tables that fit the terminal they are shown on."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GUTTER = 2
"""Cells between two columns."""
SENTENCE_MIN = 24
Cell = str | Text


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    right: bool = False
    """True of numbers."""
    spare: int = 0
    """Above 0: left out of a terminal that is too narrow, the highest first, and where it would be empty."""
    folds: bool = False
    """True of sentences, which a terminal shows in several lines."""


def make_table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Table:
    """Return a table that fits the terminal; in a pipe it has every column, always."""
    terminal = console.is_terminal
    table = Table(
        box=box.SIMPLE_HEAD if terminal else None,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1 if terminal else GUTTER, 0, 0),  # a box puts a cell of its own between columns
        header_style="bold",
    )
    shown = _that_fit(columns, rows, console.width) if terminal else range(len(columns))
    for index in shown:
        one = columns[index]
        folds = one.folds and terminal
        table.add_column(
            one.name,
            justify="right" if one.right else "left",
            no_wrap=not folds,
            overflow="fold" if folds else "ellipsis",
            min_width=min(SENTENCE_MIN, console.width) if folds else None,
        )
    for row in rows:
        table.add_row(*(row[index] for index in shown))
    return table


def _that_fit(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """Return which columns there is room for, in their order."""
    widths = [
        SENTENCE_MIN if column.folds else max([len(column.name), *(_width(row[at]) for row in rows)])
        for at, column in enumerate(columns)
    ]
    shown = [at for at, one in enumerate(columns) if not one.spare or any(_width(row[at]) for row in rows)]
    for at in sorted(shown, key=lambda at: -columns[at].spare):
        if not columns[at].spare or sum(widths[one] + GUTTER for one in shown) - GUTTER <= width:
            break
        shown.remove(at)
    return shown


def _width(cell: Cell) -> int:
    return cell.cell_len if isinstance(cell, Text) else cell_len(cell)
