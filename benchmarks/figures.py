"""Tables and line charts for the pages that benchmarks leave behind: Markdown, and SVG that stands alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from emsa_jax.report.charts import round_step

WIDTH, HEIGHT = 620, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 210, 36, 48  # room for the title, the axes and their names, and the legend
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000")  # Okabe and Ito: told apart by all eyes


def table(header: Sequence[str], rows: Sequence[Sequence]) -> list[str]:
    """Lines of Markdown, an empty one behind them. Cells that are None are shown as "-", floats with three digits."""
    lines = [header, ["---"] * len(header), *([_cell(value) for value in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def chart(
    title: str, x_name: str, y_name: str, lines: Mapping[str, Sequence[tuple[float, float]]], log: bool = True
) -> str:
    """Lines by name, each through its (x, y) points; one point at least. log: both axes are logarithmic and all
    values positive; otherwise both begin at 0. A line whose name ends in "formula" is dashed."""
    xs = sorted({x for points in lines.values() for x, _ in points})
    ys = [y for points in lines.values() for _, y in points]
    marks = _decades(min(ys), max(ys)) if log else _steps(max(ys))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    x_of = _scale(xs[0] if log else 0, xs[-1], LEFT, right, log)
    y_of = _scale(marks[0], marks[-1], bottom, TOP, log)

    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 20, title, "start", "14"),
        _text((LEFT + right) / 2, HEIGHT - 10, x_name, "middle"),
        _text(8, TOP - 12, y_name, "start"),
    ]
    for y in marks:
        parts.append(f'<path d="M{LEFT} {y_of(y):.1f}H{right}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y_of(y) + 4, f"{y:,.6g}", "end"))
    for x in xs:
        parts.append(f'<path d="M{x_of(x):.1f} {bottom}v5" stroke="#444"/>')
        parts.append(_text(x_of(x), bottom + 18, f"{x:,.6g}", "middle"))
    for i, (name, points) in enumerate(lines.items()):
        colour, at = COLOURS[i % len(COLOURS)], TOP + 10 + 20 * i
        style = f'fill="none" stroke="{colour}" stroke-width="2"' + ' stroke-dasharray="5 4"' * name.endswith("formula")
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" {style}/>')
        for x, y in points:
            parts.append(
                f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{colour}">'
                f"<title>{name}: {y:.3g} at {x:g}</title></circle>"
            )
        parts.append(f'<path d="M{right + 14} {at}h22" {style}/>')
        parts.append(_text(right + 42, at + 4, name, "start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" role="img" aria-label="{title}">\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _cell(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return str(value)


def _scale(low: float, high: float, start: float, end: float, log: bool) -> Callable[[float], float]:
    """Where on the page a value lies: `low` at start, `high` at end."""
    if low == high:
        return lambda value: (start + end) / 2
    of = math.log if log else float
    return lambda value: start + (of(value) - of(low)) / (of(high) - of(low)) * (end - start)


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten from below `low` to above `high`; with 2 and 5 between them where they are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first < 3 else (1,)
    marks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    below, above = max(m for m in marks if m <= low), min(m for m in marks if m >= high)
    return [m for m in marks if below <= m <= above]


def _steps(high: float) -> list[float]:
    """Round numbers from 0 to above `high`."""
    step = round_step(high, 5)
    return [step * i for i in range(math.ceil(high / step - 1e-9) + 1)]


def _text(x: float, y: float, text: str, anchor: str, size: str = "11") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{text}</text>'
