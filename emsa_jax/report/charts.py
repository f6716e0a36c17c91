"""Histograms and waveforms as inline SVG: in the page's own colours, and said in words for those who hear it."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from emsa_jax.report.svg import line, round_step, svg, text

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 28, 40  # room for the title, the axes and their names
MOST_BARS = 40
COLUMNS = 400  # of a waveform


def histogram(
    values: Sequence[float],
    title: str,
    unit: str,
    over: tuple[float, float] = (0.0, 0.0),
    step: float = 0.0,
    centred: bool = False,
    whole: bool = False,
) -> Markup:
    """A chart of how many clips have which value. values: one or more.

    unit: names the horizontal axis. over: what that axis covers at least. step: the width of a bar; 0.0: a
    round number that makes up to 40 of them. centred: bars stand on the multiples of the step (scores), not
    between them (lengths). whole: the values are whole numbers.
    """
    values = np.asarray(values, np.float64)
    edges = _edges(min(values.min(), over[0]), max(values.max(), over[1]), step, centred, whole)
    # a value that rounding put a hair below its edge belongs above it
    counts, _ = np.histogram(values + 1e-9 * (edges[1] - edges[0]), edges)
    tick = max(1.0, round_step(counts.max(), 4))
    top = math.ceil(counts.max() / tick) * tick

    def x_of(value: float) -> float:
        return LEFT + (value - edges[0]) / (edges[-1] - edges[0]) * (WIDTH - LEFT - RIGHT)

    def y_of(count: float) -> float:
        return HEIGHT - BOTTOM - count / top * (HEIGHT - TOP - BOTTOM)

    parts = [text(WIDTH / 2, 16, title, "middle", "title")]
    for y in np.arange(0, top + tick / 2, tick):
        parts += [line(LEFT, y_of(y), WIDTH - RIGHT, y_of(y)), text(LEFT - 5, y_of(y) + 4, f"{y:,.0f}", "end")]
    for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True):
        if n:
            where = f"{(low + high) / 2:.4g}" if centred else f"{low:.6g} to {high - whole:.6g}"
            parts.append(_bar(x_of(low), y_of(n), x_of(high), y_of(0), f"{where} {unit}: {n:,} clips"))
    mark = round_step(edges[-1] - edges[0], 6)
    for x in np.arange(math.ceil(edges[0] / mark - 1e-6), math.floor(edges[-1] / mark + 1e-6) + 1) * mark:
        parts.append(line(x_of(x), y_of(0), x_of(x), y_of(0) + 4))
        parts.append(text(x_of(x), y_of(0) + 16, f"{x:,.0f}" if abs(x) >= 1e4 else f"{x:.4g}", "middle"))
    parts.append(line(LEFT, y_of(0), LEFT, y_of(top)))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, unit, "middle"))
    parts.append(text(12, (TOP + HEIGHT - BOTTOM) / 2, "clips", "middle", turned=True))
    description = (
        f"{title}, a histogram: {len(values):,} clips, {values.min():.4g} to {values.max():.4g} {unit}, "
        f"median {np.median(values):.4g}"
    )
    return svg(WIDTH, HEIGHT, description, parts)


def waveform(pcm: np.ndarray, height: int = 64) -> Markup:
    """int16 [n] -> the sound's outline, as loud as its loudest sample is high; a line that a player moves."""
    blocks = [block for block in np.array_split(pcm.astype(np.float64), min(COLUMNS, len(pcm))) if len(block)]
    peak = max(1.0, float(np.abs(pcm.astype(np.float64)).max(initial=0)))
    middle, scale = height / 2, (height / 2 - 1) / peak
    x = np.linspace(0, COLUMNS, len(blocks)) if len(blocks) > 1 else np.array([COLUMNS / 2])
    upper = [f"{at:.1f},{middle - block.max() * scale:.1f}" for at, block in zip(x, blocks, strict=True)]
    lower = [f"{at:.1f},{middle - block.min() * scale:.1f}" for at, block in zip(x, blocks, strict=True)]
    outline = Markup('<polygon class="wave" points="{}"/>').format(" ".join(upper + lower[::-1]))
    head = Markup('<line class="head" x1="0" y1="0" x2="0" y2="{}"/>').format(height)
    return svg(COLUMNS, height, f"waveform, {loudness(pcm)}", [line(0, middle, COLUMNS, middle), outline, head], True)


def loudness(pcm: np.ndarray) -> str:
    """int16 [n] -> "peak -12.0 dB", full scale being 0; "silent" where all samples are 0."""
    peak = int(np.abs(pcm.astype(np.int32)).max(initial=0))
    return f"peak {20 * math.log10(peak / 32768):.1f} dB" if peak else "silent"


def _edges(low: float, high: float, step: float, centred: bool, whole: bool) -> np.ndarray:
    step = step or round_step(max(high - low, 1e-6), MOST_BARS)
    step = max(step, 1.0) if whole else step
    shift = 0.5 if centred else 0.0
    first, last = math.floor(low / step + shift + 1e-9), math.floor(high / step + shift + 1e-9)
    return (np.arange(first, last + 2) - shift) * step


def _bar(x1: float, y1: float, x2: float, y2: float, description: str) -> Markup:
    box = (x1 + 0.5, y1, max(x2 - x1 - 1, 0.5), y2 - y1)
    return Markup(
        '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
    ).format(*box, description)
