"""Box plots as a self-contained SVG file."""

from collections.abc import Callable, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

import numpy as np

_COLOURS = ("#3b6ea8", "#c8642b", "#4f8f4a", "#8a5aa8", "#a8903b", "#3b9a9a", "#b04a6f", "#666666")
_LEFT, _RIGHT, _TOP, _BOTTOM, _BOX, _GAP, _HIGH = 56, 12, 46, 76, 16, 22, 240


def box_plot(groups: Mapping[str, Mapping[str, Sequence[float]]], title: str, unit: str) -> str:
    """groups: group -> model -> values (of each seed). A box from the first quartile to the third with the median;
    whiskers to the last value within 1.5 of its height, values beyond as points. Groups without values are left out.
    """
    groups = {name: models for name, models in groups.items() if any(map(len, models.values()))}
    models = list(dict.fromkeys(model for found in groups.values() for model in found))
    every = [value for found in groups.values() for values in found.values() for value in values] or [0.0, 1.0]
    low, high = np.floor(min(every) / 10) * 10, np.ceil(max(every) / 10) * 10
    high = high if high > low else low + 10
    width = _LEFT + _RIGHT + sum(_GAP + _BOX * len(models) for _ in groups) + 10
    width = max(width, _LEFT + 150 * len(models), 320)
    height = _TOP + _HIGH + _BOTTOM

    def y(value: float) -> float:
        return _TOP + _HIGH * (1 - (value - low) / (high - low))

    parts = [f'<text x="{width / 2:.0f}" y="18" class="t" text-anchor="middle">{escape(title)}</text>']
    for tick in np.arange(low, high + 1, 10):
        parts.append(
            f'<line class="g" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    parts.append(
        f'<text transform="rotate(-90 14 {_TOP + _HIGH / 2:.0f})" x="14" y="{_TOP + _HIGH / 2:.0f}" '
        f'text-anchor="middle">{escape(unit)}</text>'
    )
    for i, model in enumerate(models):
        at = _LEFT + 150 * i
        parts.append(
            f'<rect x="{at}" y="27" width="10" height="10" fill="{_COLOURS[i % len(_COLOURS)]}"/>'
            f'<text x="{at + 14}" y="36">{escape(model)}</text>'
        )
    x = _LEFT + _GAP / 2
    for group, found in groups.items():
        for i, model in enumerate(models):
            if len(values := found.get(model, ())):
                parts.append(
                    _box(x + i * _BOX, np.asarray(values, float), _COLOURS[i % len(_COLOURS)], y, f"{group}, {model}")
                )
        middle = x + len(models) * _BOX / 2
        parts.append(
            f'<text transform="rotate(-25 {middle:.0f} {_TOP + _HIGH + 16})" x="{middle:.0f}" '
            f'y="{_TOP + _HIGH + 16}" text-anchor="end">{escape(group)}</text>'
        )
        x += len(models) * _BOX + _GAP
    style = (
        "<style>text{font:11px sans-serif;fill:#222}.t{font-size:13px}.g{stroke:#ccc;stroke-width:.6}"
        ".b{stroke:#222;stroke-width:1}@media(prefers-color-scheme:dark){text{fill:#ddd}.g{stroke:#555}"
        ".b{stroke:#ddd}}</style>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" '
        f"aria-label={quoteattr(title)}>{style}{''.join(parts)}</svg>\n"
    )


def _box(x: float, values: np.ndarray, colour: str, y: Callable[[float], float], name: str) -> str:
    first, median, third = np.percentile(values, (25, 50, 75))
    reach = 1.5 * (third - first)
    inside = values[(values >= first - reach) & (values <= third + reach)]
    left, right, middle = x + 2, x + _BOX - 2, x + _BOX / 2
    lines = [
        (middle, y(inside.min()), middle, y(first)),
        (middle, y(third), middle, y(inside.max())),
        (left, y(median), right, y(median)),
    ]
    drawn = "".join(f'<line class="b" x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}"/>' for a, b, c, d in lines)
    points = "".join(
        f'<circle class="b" cx="{middle:.1f}" cy="{y(v):.1f}" r="2" fill="none"/>'
        for v in values
        if v < first - reach or v > third + reach
    )
    box = (
        f'<rect class="b" x="{left:.1f}" y="{y(third):.1f}" width="{right - left:.1f}" '
        f'height="{y(first) - y(third):.1f}" fill="{colour}" fill-opacity=".7"/>'
    )
    seeds = f"{len(values)} seeds, median {median:.1f}"
    return f"<g><title>{escape(name)}: {seeds}</title>{box}{drawn}{points}</g>"
