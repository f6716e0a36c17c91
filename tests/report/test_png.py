"""Drawings as PNG: their lines are where the SVG has them, in its colours."""

import io

import numpy as np
import pytest
from PIL import Image

from emsa_jax.report.plots import Series, curves
from emsa_jax.report.png import SCALE, png_of
from emsa_jax.report.svg import line, svg, text


def pixels(drawing):
    return np.asarray(Image.open(io.BytesIO(png_of(drawing)))).astype(int)


def test_a_line_is_where_it_is_drawn():
    found = pixels(svg(100, 50, "one line", [line(10, 20, 90, 20)]))
    assert found.shape == (50 * SCALE, 100 * SCALE, 3)
    dark = np.argwhere(found.sum(-1) < 3 * 250)
    assert abs(dark[:, 0].mean() / SCALE - 20) < 0.6
    assert abs(dark[:, 1].min() / SCALE - 10) < 1 and abs(dark[:, 1].max() / SCALE - 90) < 1


@pytest.mark.parametrize("anchor, left, right", [("start", 50, 90), ("middle", 25, 75), ("end", 10, 51)])
def test_texts_stand_by_their_anchors(anchor, left, right):
    found = pixels(svg(100, 50, "a text", [text(50, 30, "words", anchor)]))
    columns = np.flatnonzero((found.sum(-1) < 3 * 200).any(0)) / SCALE
    assert len(columns) and left - 1 <= columns.min() and columns.max() <= right + 1
    turned = pixels(svg(60, 100, "a text", [text(30, 50, "words", anchor, turned=True)]))
    rows = np.flatnonzero((turned.sum(-1) < 3 * 200).any(1)) / SCALE  # read from below: it ends above
    assert np.ptp(rows) > 2 * np.ptp(np.flatnonzero((turned.sum(-1) < 3 * 200).any(0)) / SCALE)
    assert len(rows) and 100 - right - 1 <= rows.min() and rows.max() <= 100 - left + 1


def test_curves_have_their_colours_and_dashes():
    steps = list(range(5))
    found = pixels(curves("t", "u", [Series("one", steps, [1, 2, 3, 4, 5]), Series("two", steps, [5, 4, 3, 2, 1])]))
    for colour in ((0x1A, 0x5F, 0xD0), (0xA3, 0x4A, 0x06)):  # c1 and c2 of the light page
        assert (np.abs(found - colour).sum(-1) < 12).sum() > 200
    whole, dashed = ((np.abs(found - colour).sum(-1) < 60).sum() for colour in ((0x1A, 0x5F, 0xD0), (0xA3, 0x4A, 0x06)))
    assert dashed < 0.85 * whole


def test_what_it_cannot_draw_is_an_error():
    with pytest.raises(ValueError, match="<rect> is not drawn"):
        png_of('<svg viewBox="0 0 9 9"><rect/></svg>')
