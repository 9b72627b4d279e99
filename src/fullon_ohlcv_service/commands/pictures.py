"""The same pictures as files, for reports; they need the extra `png` (matplotlib)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fullon_ohlcv.reading import Row
from fullon_ohlcv.timeframe import from_us
from fullon_ohlcv_service.commands.heat import Cell, HeatMap
from fullon_ohlcv_service.errors import CommandError

COLORS = {
    "traded": (0.13, 0.55, 0.29),
    "verified empty": (0.75, 0.90, 0.80),
    "unavailable": (0.55, 0.55, 0.62),
    "unknown": (0.85, 0.15, 0.15),
}
UP, DOWN = COLORS["traded"], COLORS["unknown"]
TICKS_MAX = 10


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError:
        raise CommandError(
            "--png needs matplotlib: install it with `pip install 'fullon-ohlcv-service[png]'`"
        ) from None
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error


def draw_heat(heat: HeatMap, path: Path) -> None:
    """Draw a heat map: each cell's colour is mixed of the states of its minutes."""
    figure = _figure(12, 1.6 + 0.24 * len(heat.rows))
    axes = figure.add_subplot()
    axes.imshow([[_color(cell) for cell in cells] for cells in heat.rows.values()], aspect="auto", interpolation="none")
    axes.set_yticks(range(len(heat.rows)), [str(one) for one in heat.rows], fontsize=8)
    every = max(1, len(heat.starts_us) // TICKS_MAX)
    ticks = range(0, len(heat.starts_us), every)
    axes.set_xticks(ticks, [f"{from_us(heat.starts_us[tick]):%Y-%m-%d\n%H:%M}" for tick in ticks], fontsize=8)
    axes.set_title(f"Coverage, UTC; one column is {heat.step}", loc="left", fontsize=10)
    from matplotlib.patches import Patch  # noqa: PLC0415 - an extra

    patches = [Patch(color=color, label=name) for name, color in COLORS.items()]
    figure.legend(handles=patches, loc="outside lower left", ncols=4, frameon=False, fontsize=8)
    _save(figure, path)


def _color(cell: Cell | None) -> tuple[float, float, float]:
    if cell is None or not cell.minutes:
        return 1.0, 1.0, 1.0
    if cell.unknown:
        return COLORS["unknown"]
    shares = zip(COLORS.values(), (cell.traded, cell.empty, cell.unavailable, cell.unknown), strict=True)
    weighed = [(color, count / cell.minutes) for color, count in shares]
    red, green, blue = (sum(color[part] * share for color, share in weighed) for part in range(3))
    return red, green, blue


def draw_candles(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw candles, oldest left, with their volume below."""
    figure = _figure(12, 6)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    upper.use_sticky_edges = False  # else the lowest candle touches the frame
    places = range(len(rows))
    colors = [UP if row[4] >= row[1] else DOWN for row in rows]
    upper.vlines(places, [row[3] for row in rows], [row[2] for row in rows], colors=colors, linewidth=0.8)
    bottoms = [min(row[1], row[4]) for row in rows]
    heights = [abs(row[4] - row[1]) for row in rows]
    upper.bar(places, heights, bottom=bottoms, color=colors, edgecolor=colors, width=0.7)
    lower.bar(places, [row[5] for row in rows], color=colors, width=0.7)
    every = max(1, len(rows) // TICKS_MAX)
    ticks = range(0, len(rows), every)
    lower.set_xticks(ticks, [f"{rows[tick][0]:%Y-%m-%d\n%H:%M}" for tick in ticks], fontsize=8)
    upper.set_title(title, loc="left", fontsize=10)
    upper.grid(alpha=0.3)
    _save(figure, path)
