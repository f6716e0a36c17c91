"""Against Qwen's published rule, written again here from its description, and torch's linspace."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from emsa_jax.data.media import per_second, uniform


@pytest.mark.parametrize("total, num_frames", [(30, 4), (30, 16), (7, 16), (1, 4), (2, 2), (16, 16)])
def test_uniform_spreads_from_first_to_last(total, num_frames):
    kept = uniform(total, 3.0, num_frames)
    assert len(kept) == min(total, num_frames) and kept[0] == 0
    assert len(kept) == 1 or kept[-1] == total - 1
    assert (np.diff(kept) >= 1).all()


def qwen_count(total, video_fps, fps, min_frames, max_frames):
    wanted = min(max(total / video_fps * fps, math.ceil(min_frames / 2) * 2), max_frames // 2 * 2, total)
    return math.floor(wanted / 2) * 2


@pytest.mark.parametrize("video_fps", [10, 12.5, 24, 25, Fraction(30000, 1001), 30, 60])
@pytest.mark.parametrize("fps, low, high", [(2.0, 4, 768), (1.0, 3, 9), (0.5, 2, 6), (4.0, 5, 16)])
def test_frames_a_second_are_as_many_as_qwen_takes(video_fps, fps, low, high):
    for total in [*range(2, 200), 999, 3600]:
        kept = per_second(total, float(total / video_fps), fps, low, high)
        assert len(kept) == qwen_count(total, video_fps, fps, low, high), total


def test_frames_a_second_where_qwen_gives_up_or_times_are_rounded():
    assert per_second(1, 0.1, 2.0, 4, 768).tolist() == [0]
    assert len(per_second(30, 2.9999, 2.0, 4, 768)) == 6  # 3 s by a clock of milliseconds
    assert len(per_second(30, 2.99, 2.0, 4, 768)) == 4


def test_indices_are_torchs_linspace_rounded():
    different = 0
    for total in range(2, 120):
        for count in range(2, min(total, 40), 2):
            theirs = torch.linspace(0, total - 1, count).round().long().numpy()
            ours = uniform(total, 1.0, count)
            exact = [Fraction((total - 1) * i, count - 1) for i in range(count)]
            ties = [x.denominator == 2 for x in exact]  # which torch's single precision rounds as it falls
            np.testing.assert_array_equal(ours[~np.array(ties)], theirs[~np.array(ties)])
            different += (ours != theirs).sum()
    assert different < 100
