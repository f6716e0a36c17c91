import numpy as np
import pytest
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as reference

from emsa_jax.data.resize import resize, smart_resize


def test_equals_hugging_face():
    rng = np.random.default_rng(0)
    sides = rng.integers(1, 3000, (2000, 2))
    bounds = [(3136, 128 * 28 * 28), (3136, 12_845_056), (128 * 784, 768 * 784)]
    checked = 0
    for height, width in sides.tolist():
        for lo, hi in bounds:
            if max(height, width) <= 200 * min(height, width):
                ours = smart_resize(height, width, min_pixels=lo, max_pixels=hi)
                assert ours == reference(height, width, 28, lo, hi), (height, width, lo, hi)
                checked += 1
    assert checked > 5000


@pytest.mark.parametrize("height, width", [(0, 5), (1, 201), (4000, 10)])
def test_absurd_shapes(height, width):
    with pytest.raises(ValueError, match="longer than 200 times"):
        smart_resize(height, width)


def test_resize_leaves_a_fitting_frame_alone():
    frame = np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8)
    assert resize(frame, 56, 84) is frame
    assert resize(frame, 28, 56).shape == (28, 56, 3)


@pytest.mark.parametrize("size", [(61, 83), (480, 640), (30, 700), (1080, 1920)])
def test_patches_of_a_resized_frame_equal_hugging_face(size):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=100_352)
    theirs = processor(frame, return_tensors="np")
    ours = resize(frame, *smart_resize(*size, min_pixels=3136, max_pixels=100_352))
    _, rows, columns = theirs["image_grid_thw"][0]
    assert ours.shape == (14 * rows, 14 * columns, 3)
    alone = processor(ours, do_resize=False, return_tensors="np")
    np.testing.assert_array_equal(alone["pixel_values"], theirs["pixel_values"])
