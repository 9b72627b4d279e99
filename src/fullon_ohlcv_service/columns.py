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


def print_table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table that fits the terminal; in a pipe it has every column, always."""
    if console.is_terminal:
        console.print(make_table(console, columns, rows))
    else:
        print(plain_table(columns, rows), flush=True)


def plain_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table as lines of text, thousands of them in no time."""
    lines = [[column.name for column in columns], *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        (" " * GUTTER)
        .join(
            " " * (width - cell_len(cell)) + cell if column.right else cell + " " * (width - cell_len(cell))
            for column, cell, width in zip(columns, line, widths, strict=True)
        )
        .rstrip()
        for line in lines
    )


def make_table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Table:
    """Return a table that fits the terminal."""
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    shown = _that_fit(columns, rows, console.width)
    for index in shown:
        one = columns[index]
        table.add_column(
            one.name,
            justify="right" if one.right else "left",
            no_wrap=not one.folds,
            overflow="fold" if one.folds else "ellipsis",
            min_width=min(SENTENCE_MIN, console.width) if one.folds else None,
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
