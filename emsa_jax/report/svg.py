"""Parts of inline SVG drawings, in the page's own colours."""

import math
from collections.abc import Sequence

from markupsafe import Markup


def round_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, ... times a power of ten of which at most `most` make up `span`."""
    step = 10.0 ** math.floor(math.log10(span / most))
    return next(step * factor for factor in (1, 2, 5, 10, 20) if span <= most * step * factor * (1 + 1e-9))


def svg(width: float, height: float, description: str, parts: Sequence[Markup], stretched: bool = False) -> Markup:
    """A drawing; description: what it says in words. stretched: it fills its box, whatever its proportions."""
    ratio = Markup(' preserveAspectRatio="none"') if stretched else ""
    return Markup('<svg viewBox="0 0 {} {}"{} role="img" aria-label="{}">{}</svg>').format(
        width, height, ratio, description, Markup("").join(parts)
    )


def text(x: float, y: float, said: str, anchor: str, kind: str = "", turned: bool = False) -> Markup:
    """A text that starts, ends, or has its middle at a point; turned: it is read from below."""
    turn = Markup(' transform="rotate(-90 {:.1f} {:.1f})"').format(x, y) if turned else ""
    kind = Markup(' class="{}"').format(kind) if kind else ""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}{}>{}</text>').format(x, y, anchor, kind, turn, said)


def line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A line of an axis."""
    return Markup('<line class="axis" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(x1, y1, x2, y2)
