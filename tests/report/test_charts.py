"""Charts: every clip is in the bar that its value belongs to, and every mark lies on the paper."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsa_jax.report.charts import COLUMNS, HEIGHT, WIDTH, histogram, loudness, round_step, waveform

BAR = re.compile(r'<rect class="bar" x="(.+?)" y="(.+?)" width="(.+?)" height="(.+?)"><title>(.+?)</title>')


def bars(svg):
    """What the bars say: label -> clips."""
    said = [told.removesuffix(" clips").rsplit(": ", 1) for *_, told in BAR.findall(svg)]
    return {label: int(n.replace(",", "")) for label, n in said}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.001, 1e5), min_size=1, max_size=60))
def test_every_length_is_in_its_bar(values):
    svg = histogram(values, "Duration", "seconds")
    assert len(BAR.findall(svg)) <= 41 and sum(bars(svg).values()) == len(values)
    for label, n in bars(svg).items():
        low, high = map(float, label.removesuffix(" seconds").split(" to "))
        width = high - low
        inside = sum(low - 1e-4 * width - 1e-5 * low <= v <= high + 1e-4 * width + 1e-5 * low for v in values)
        assert inside >= n


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=30))
def test_marks_lie_on_the_paper(values):
    svg = histogram(values, "T", "u", over=(min(values) - 1, 0.0))
    for x, y, width, height, _ in BAR.findall(svg):
        x, y, width, height = map(float, (x, y, width, height))
        assert 0 <= x and x + width <= WIDTH and 0 <= y and y + height <= HEIGHT and width > 0 and height > 0
    for name, value in re.findall(r' ([xy][12]?)="(.+?)"', svg):
        assert -0.1 <= float(value) <= (WIDTH if name[0] == "x" else HEIGHT)


def test_scores_stand_on_their_grid():
    scores = [round(k / 5, 1) for k in range(-5, 6) for _ in range(k + 6)]
    svg = histogram(scores, "Score", "score", (-1.0, 1.0), 0.1, centred=True)
    assert bars(svg) == {f"{k / 5:.4g} score": k + 6 for k in range(-5, 6)}


def test_a_length_on_an_edge_belongs_above_it():
    lengths = [round(k / 10, 1) for k in range(31)]
    assert bars(histogram(lengths, "Duration", "seconds", step=0.1)) == {
        f"{k / 10:.6g} to {(k + 1) / 10:.6g} seconds": 1 for k in range(31)
    }


def test_whole_numbers_name_both_ends():
    assert bars(histogram([3, 3, 4], "Words", "characters", whole=True)) == {
        "3 to 3 characters": 2,
        "4 to 4 characters": 1,
    }
    assert list(bars(histogram([12, 78], "Words", "characters", whole=True))) == [
        "12 to 13 characters",
        "78 to 79 characters",
    ]


def test_a_tall_bar_is_as_high_as_its_count():
    (_, y4, _, height4, told4), (_, y1, _, height1, told1) = BAR.findall(histogram([1, 1, 1, 1, 2], "T", "u"))
    assert told4.endswith(": 4 clips") and told1.endswith(": 1 clips")
    assert float(height4) == pytest.approx(4 * float(height1), abs=0.2)
    assert float(y4) + float(height4) == pytest.approx(float(y1) + float(height1), abs=0.2)


def test_axes_are_named_and_the_chart_is_told():
    svg = histogram([1.0, 2.0, 4.5], "Duration", "seconds")
    texts = re.findall(r"<text[^>]*>(.+?)</text>", svg)
    assert texts[0] == "Duration" and texts[-2:] == ["seconds", "clips"] and {"0", "1", "2", "4"} <= set(texts)
    assert 'aria-label="Duration, a histogram: 3 clips, 1 to 4.5 seconds, median 2"' in svg


def test_titles_are_escaped():
    assert "<b>" not in histogram([1.0], "<b>", '"<b>')


def test_round_steps():
    assert [round_step(span, 10) for span in (1, 10, 11, 20, 21, 50, 100, 0.03)] == [
        0.1,
        1,
        2,
        2,
        5,
        5,
        10,
        pytest.approx(0.005),
    ]


def test_a_waveform_reaches_as_high_as_its_peak():
    pcm = np.zeros(4000, np.int16)
    pcm[1000:2000], pcm[2000:3000:2], pcm[3000:] = 8192, -8192, -4096
    points = re.search(r'points="(.+?)"', waveform(pcm, 64))[1].split()
    x, y = np.array([list(map(float, point.split(","))) for point in points]).T
    assert len(points) == 2 * COLUMNS and (x.min(), x.max()) == (0, COLUMNS)
    upper, lower = y[:COLUMNS].reshape(4, -1), y[COLUMNS:][::-1].reshape(4, -1)
    assert (upper == [[32], [1], [32], [47.5]]).all() and (lower == [[32], [1], [63], [47.5]]).all()


@pytest.mark.parametrize("pcm", [[0], [-32768], [0] * 100, [5, -5]])
def test_short_and_silent_sounds_have_a_waveform(pcm):
    points = re.search(r'points="(.+?)"', waveform(np.array(pcm, np.int16), 64))[1].split()
    assert points and all(0 <= float(point.split(",")[1]) <= 64 for point in points)


def test_loudness():
    assert loudness(np.array([0, 16384, -3], np.int16)) == "peak -6.0 dB"
    assert loudness(np.array([-32768], np.int16)) == "peak 0.0 dB"
    assert loudness(np.zeros(3, np.int16)) == loudness(np.zeros(0, np.int16)) == "silent"
