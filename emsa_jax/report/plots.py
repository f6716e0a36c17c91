"""Curves, intervals, heat maps and shares as inline SVG; each with axes, units and a legend, and said in words."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from emsa_jax.report.svg import line, round_step, svg, text

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, BOTTOM = 56, 12, 40
TOP, LEGEND = 28, 16  # of the title; of a line of the legend
MOST_POINTS = 160  # of a curve; more are averaged
COLOURS = 8  # classes c1 to c8 of the page's style


class Series(NamedTuple):
    """A curve: its name, steps, and values (None where there is none)."""

    name: str
    steps: Sequence[float]
    values: Sequence[float | None]


class Bar(NamedTuple):
    """A value with its interval, if it has one; quiet: a floor, not a result."""

    name: str
    value: float
    interval: tuple[float, float] | None = None
    quiet: bool = False


def curves(
    title: str, unit: str, series: Sequence[Series], across: str = "step", smooth: bool = True, zero: bool = False
) -> Markup | None:
    """Curves over steps; None where no value is known. smooth: the curve is a running mean, its values thin behind it.
    zero: the axis of values starts at 0."""
    drawn = [Series(s.name, *_known(s.steps, s.values)) for s in series]
    drawn = [s for s in drawn if len(s.steps)]
    if not drawn:
        return None
    everything = np.concatenate([s.values for s in drawn])
    low, high = float(everything.min()), float(everything.max())
    low = min(low, 0.0) if zero else low
    if high - low < 1e-9:
        low, high = low - max(abs(low), 1e-3) / 2, high + max(abs(high), 1e-3) / 2
    tick = round_step(high - low, 5)
    low, high = math.floor(low / tick + 1e-9) * tick, math.ceil(high / tick - 1e-9) * tick
    first, last = min(s.steps[0] for s in drawn), max(s.steps[-1] for s in drawn)
    last = max(last, first + 1)
    legend, top = _legend([s.name for s in drawn], LEFT)

    def x_of(step: float) -> float:
        return LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - top - BOTTOM)

    parts = [text(WIDTH / 2, 16, title, "middle", "title"), *legend]
    for y in np.arange(round((high - low) / tick) + 1) * tick + low:
        parts += [line(LEFT, y_of(y), WIDTH - RIGHT, y_of(y)), text(LEFT - 5, y_of(y) + 4, _number(y, tick), "end")]
    step = max(1.0, round_step(last - first, 6))
    for x in np.arange(math.ceil(first / step), math.floor(last / step) + 1) * step:
        parts += [
            line(x_of(x), y_of(low), x_of(x), y_of(low) + 4),
            text(x_of(x), y_of(low) + 16, f"{x:,.0f}", "middle"),
        ]
    parts += [
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, across, "middle"),
        text(12, (top + HEIGHT - BOTTOM) / 2, unit, "middle", turned=True),
    ]
    for i, s in enumerate(drawn):
        colour = f"c{i % COLOURS + 1}"
        if smooth and len(s.values) > 8:
            parts.append(_path([x_of(x) for x in s.steps], [y_of(y) for y in s.values], f"thin {colour}"))
        values = _running_mean(s.values) if smooth else s.values
        parts.append(_path([x_of(x) for x in s.steps], [y_of(y) for y in values], f"curve {colour} d{i % 4}"))
        if len(s.steps) == 1:
            parts.append(_dot(x_of(s.steps[0]), y_of(s.values[0]), colour))
    description = "; ".join(
        f"{s.name}: {s.values[0]:.4g} at first, {s.values[-1]:.4g} at last, between {s.values.min():.4g} "
        f"and {s.values.max():.4g}"
        for s in drawn
    )
    return svg(WIDTH, HEIGHT, f"{title}, {unit} by {across}. {description}", parts)


def intervals_plot(
    title: str, unit: str, bars: Sequence[Bar], low: float | None = None, high: float | None = None
) -> Markup | None:
    """Values as dots on a line each, their intervals as whiskers. low, high: the least that the axis covers."""
    if not bars:
        return None
    ends = [end for bar in bars for end in (*(bar.interval or ()), bar.value)]
    low = min(ends) if low is None else min(low, *ends)
    high = max(ends) if high is None else max(high, *ends)
    high = high if high - low > 1e-9 else low + 1.0  # all of them equal: an axis all the same
    tick = round_step(high - low, 5)
    low, high = math.floor(low / tick + 1e-9) * tick, math.ceil(high / tick - 1e-9) * tick
    left, row, kinds = (
        170,
        24,
        [("result, with its 95% interval", "c1")] + [("floor: saw no clip", "c7")] * any(bar.quiet for bar in bars),
    )
    legend, top = _legend([name for name, _ in kinds], left, [colour for _, colour in kinds], 250)
    height = top + row * len(bars) + BOTTOM

    def x_of(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - left - RIGHT - 34)

    parts = [text(WIDTH / 2, 16, title, "middle", "title"), *legend]
    for x in np.arange(round((high - low) / tick) + 1) * tick + low:
        parts += [
            line(x_of(x), top, x_of(x), height - BOTTOM),
            text(x_of(x), height - BOTTOM + 16, _number(x, tick), "middle"),
        ]
    for i, bar in enumerate(bars):
        y, colour = top + row * (i + 0.5), "c7" if bar.quiet else "c1"
        parts.append(text(left - 8, y + 4, bar.name, "end", "name"))
        if bar.interval:
            parts.append(_path([x_of(bar.interval[0]), x_of(bar.interval[1])], [y, y], f"whisker {colour}"))
        parts += [_dot(x_of(bar.value), y, colour), text(WIDTH - 4, y + 4, f"{bar.value:.3f}", "end", "value")]
    parts.append(text((left + WIDTH - RIGHT - 34) / 2, height - 6, unit, "middle"))
    description = "; ".join(
        f"{bar.name} {bar.value:.3f}" + (" ({:.3f} to {:.3f})".format(*bar.interval) if bar.interval else "")
        for bar in bars
    )
    return svg(WIDTH, height, f"{title}, {unit}. {description}", parts)


def heat_map(
    title: str,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[float | None]],
    shades: Sequence[Sequence[float]],
    down: str,
    across: str,
    legend: str,
    digits: int = 0,
) -> Markup:
    """Numbers in boxes, the darker the larger their shade (0 to 1). down, across: what rows and columns are."""
    size = max(52, min(84, 270 // max(len(columns), 1)), 12 + 6.6 * max(map(len, columns), default=0))
    left, top, high = max(100, 40 + 6.6 * max(map(len, rows), default=0)), 66, 34
    width, height = left + size * len(columns) + 12, top + high * len(rows) + 34
    parts = [
        text(width / 2, 16, title, "middle", "title"),
        text(left + size * len(columns) / 2, 40, across, "middle"),
        text(12, top + high * len(rows) / 2, down, "middle", turned=True),
    ]
    parts += [text(left + size * (i + 0.5), 58, name, "middle", "name") for i, name in enumerate(columns)]
    for r, name in enumerate(rows):
        parts.append(text(left - 8, top + high * (r + 0.5) + 4, name, "end", "name"))
        for c, value in enumerate(cells[r]):
            box = (left + size * c + 1, top + high * r + 1, size - 2, high - 2, 0.06 + 0.44 * shades[r][c])
            parts.append(
                Markup(
                    '<rect class="cell" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill-opacity="{:.2f}"/>'
                ).format(*box)
            )
            number = "-" if value is None else f"{value:.{digits}f}"
            parts.append(text(left + size * (c + 0.5), top + high * (r + 0.5) + 4, number, "middle", "value"))
    parts.append(text(width / 2, height - 8, legend, "middle"))
    description = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{column} {'none' if v is None else f'{v:.{digits}f}'}" for column, v in zip(columns, values, strict=True)
        )
        for name, values in zip(rows, cells, strict=True)
    )
    return svg(width, height, f"{title}, {down} by {across}. {description}", parts)


def shares(title: str, unit: str, parts_of: Mapping[str, float]) -> Markup | None:
    """What a whole is made of: one bar, its parts side by side, with a legend that gives their numbers."""
    known = {name: value for name, value in sorted(parts_of.items(), key=lambda item: -item[1]) if value > 0}
    whole = sum(known.values())
    if not whole:
        return None
    names = [f"{name} {value:.3g} {unit} ({value / whole:.0%})" for name, value in known.items()]
    legend, top = _legend(names, 12)
    at, parts, width = 12.0, [text(WIDTH / 2, 16, title, "middle", "title"), *legend], WIDTH - 24
    for i, (name, value) in enumerate(known.items()):
        long = value / whole * width
        parts.append(
            Markup('<rect class="c{}" x="{:.1f}" y="{}" width="{:.1f}" height="26"><title>{}</title></rect>').format(
                i % COLOURS + 1, at, top, max(long - 1, 0.5), name
            )
        )
        at += long
    for fraction in (0, 0.25, 0.5, 0.75, 1):
        x = 12 + fraction * width
        parts += [
            line(x, top + 26, x, top + 31),
            text(min(max(x, 20), WIDTH - 22), top + 44, f"{fraction * whole:.2g}", "middle"),
        ]
    parts.append(text(WIDTH / 2, top + 60, unit, "middle"))
    return svg(WIDTH, top + 68, f"{title}: {', '.join(names)}", parts)


def _legend(names: Sequence[str], left: float, colours: Sequence[str] = (), wide: float = WIDTH) -> tuple[list, float]:
    """(its parts, where the drawing below it begins): as many entries in a line as fit."""
    parts, x, y = [], left, TOP + 4.0
    for i, name in enumerate(names):
        long = 26 + 6.1 * len(name)
        if x > left and x + long > max(wide, WIDTH) - 4:
            x, y = left, y + LEGEND
        colour = colours[i] if colours else f"c{i % COLOURS + 1}"
        parts.append(_path([x, x + 14], [y, y], f"curve {colour}" + ("" if colours else f" d{i % 4}")))
        parts.append(text(x + 18, y + 4, name, "start"))
        x += long
    return parts, y + LEGEND


def _known(steps: Sequence[float], values: Sequence[float | None]) -> tuple[np.ndarray, np.ndarray]:
    """Those that have a value, averaged to `MOST_POINTS`."""
    pairs = [(s, v) for s, v in zip(steps, values, strict=True) if v is not None and math.isfinite(v)]
    table = np.array(pairs, np.float64).reshape(-1, 2)
    if len(table) > MOST_POINTS:
        table = np.array([block.mean(0) for block in np.array_split(table, MOST_POINTS)])
    return table[:, 0], table[:, 1]


def _running_mean(values: np.ndarray) -> np.ndarray:
    reach = len(values) // 24
    padded = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values))
    return (padded[high] - padded[low]) / (high - low)


def _path(xs: Sequence[float], ys: Sequence[float], kind: str) -> Markup:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return Markup('<polyline class="{}" points="{}"/>').format(kind, points)


def _dot(x: float, y: float, kind: str) -> Markup:
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(kind, x, y)


def _number(value: float, tick: float) -> str:
    digits = max(0, -math.floor(math.log10(tick) + 1e-9))
    if digits <= 4 or not value:
        return f"{value + 0.0:,.{digits if value or digits <= 4 else 0}f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
