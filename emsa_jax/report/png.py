"""Our own SVG drawings as PNG, for papers and slides: lines, curves, dots and texts, in the colours of a light page.

Drawn large and made smaller, so that edges are smooth. The font comes with Pillow, and so is the same on every machine;
it knows Latin letters.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from emsa_jax.report.page import template

SCALE, FINER = 2, 3  # pixels of a unit of the drawing; how much finer it is drawn
_BIG = SCALE * FINER
_DASHES = {"d1": (7, 3), "d2": (2, 3), "d3": (9, 3, 2, 3)}  # as in run.css
_THIN = 0.28  # opacity
_SIZES = {"title": 13, "name": 12, "value": 12}  # of texts, by their class; 11 else
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def png_of(drawing: str) -> bytes:
    """A PNG of `SCALE` pixels for each unit of a drawing of `svg` and `plots`. drawing: <svg> with lines, polylines,
    circles and texts. Raises ValueError for what else it holds."""
    root = ElementTree.fromstring(drawing)
    width, height = (float(number) for number in root.get("viewBox").split()[2:])
    image = Image.new("RGB", (round(width * _BIG), round(height * _BIG)), "white")
    draw = ImageDraw.Draw(image)
    for part in root:
        classes = part.get("class", "").split()
        if part.tag == "line":
            ends = [float(part.get(name)) * _BIG for name in ("x1", "y1", "x2", "y2")]
            draw.line(ends, _colours()["line"], _BIG)
        elif part.tag == "polyline":
            _curve(draw, part.get("points"), classes)
        elif part.tag == "circle":
            x, y, r = (float(part.get(name)) * _BIG for name in ("cx", "cy", "r"))
            draw.ellipse((x - r, y - r, x + r, y + r), _colour(classes))
        elif part.tag == "text":
            _text(image, draw, part, classes)
        else:
            raise ValueError(f"<{part.tag}> is not drawn")
    out = io.BytesIO()
    image.reduce(FINER).save(out, "PNG")
    return out.getvalue()


def _curve(draw: ImageDraw.ImageDraw, points: str, classes: list[str]) -> None:
    corners = np.array([[float(v) for v in point.split(",")] for point in points.split()]) * _BIG
    thin = "thin" in classes
    colour = _faint(_colour(classes)) if thin else _colour(classes)
    dashes = next((_DASHES[name] for name in classes if name in _DASHES), ())
    for piece in _pieces(corners, dashes):
        draw.line([tuple(corner) for corner in piece], colour, _BIG if thin else 2 * _BIG, joint="curve")


def _pieces(corners: np.ndarray, dashes: tuple[int, ...]) -> Iterator[np.ndarray]:
    """What is drawn of a line: float [n, 2] of each dash. dashes: lengths of marks and gaps in turn; () for no gaps."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    if not dashes or along[-1] == 0:
        yield corners
        return

    def at(where: float) -> list[float]:
        return [np.interp(where, along, corners[:, axis]) for axis in (0, 1)]

    begin, number = 0.0, 0
    while begin < along[-1]:
        end = min(begin + dashes[number % len(dashes)] * _BIG, along[-1])
        if number % 2 == 0:
            inner = corners[(along > begin) & (along < end)]
            yield np.array([at(begin), *inner, at(end)])
        begin, number = end, number + 1


def _text(image: Image.Image, draw: ImageDraw.ImageDraw, part: ElementTree.Element, classes: list[str]) -> None:
    size = next((_SIZES[name] for name in classes if name in _SIZES), 11)
    font, said = _font(size), part.text or ""
    colour = _colours()["ink" if classes else "soft"]
    at, anchor = (float(part.get("x")) * _BIG, float(part.get("y")) * _BIG), _ANCHORS[part.get("text-anchor", "start")]
    if not part.get("transform"):
        draw.text(at, said, colour, font, anchor)
        return
    left, top, right, bottom = font.getbbox(said, anchor="ls")  # read from below: drawn level, then turned
    mask = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(mask).text((-left, -top), said, 255, font, "ls")
    turned = mask.rotate(90, expand=True)
    shift = {"ls": 0.0, "ms": turned.height / 2, "rs": turned.height}[anchor]
    image.paste(colour, (round(at[0] + top), round(at[1] - turned.height + shift)), turned)


def _colour(classes: list[str]) -> str:
    return next((_colours()[name] for name in classes if name in _colours()), _colours()["ink"])


def _faint(colour: str) -> tuple[int, ...]:
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return tuple(round(255 + _THIN * (part - 255)) for part in parts)


@functools.cache
def _colours() -> dict[str, str]:
    """Name -> "#rrggbb", of the light page."""
    found = {}
    for sheet in ("page.css", "run.css"):
        light = re.search(r":root \{(.*?)\}", template(sheet), re.DOTALL)[1]
        found |= dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", light))
    return found


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size * _BIG)
