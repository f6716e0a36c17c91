"""What a checkpoint sees and hears, as `transformers` 4 and 5 write it, and what is refused."""

import json
import math

import pytest
from transformers import WhisperFeatureExtractor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from emsa_jax.errors import InputError
from emsa_jax.policy.preprocessor import Preprocessor, read_preprocessor
from emsa_jax.policy.thinker_config import ThinkerConfig

CONFIG = ThinkerConfig()
SEEN = dict(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
NESTED, FLAT, VIDEO = "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"


def read(directory, **files):
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return read_preprocessor(directory, CONFIG)


def test_no_file(tmp_path):
    assert read(tmp_path) == Preprocessor()


def test_the_nested_file_of_transformers_5(tmp_path):
    """Its sections are what `transformers` writes for its own classes."""
    pictures = Qwen2VLImageProcessorPil(**SEEN, min_pixels=784, max_pixels=78400)
    sections = {
        "feature_extractor": json.loads(WhisperFeatureExtractor(feature_size=128).to_json_string()),
        "image_processor": json.loads(pictures.to_json_string()),
        "video_processor": {**SEEN, "patch_size": 14, "size": {"shortest_edge": 100352, "longest_edge": 602112}},
        "processor_class": "Qwen2_5OmniProcessor",
    }
    want = Preprocessor((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 784, 78400)
    assert read(tmp_path, processor_config=sections) == want
    flat = sections["feature_extractor"] | sections["image_processor"]
    assert read(tmp_path, preprocessor_config=flat) == want
    assert read(tmp_path, video_preprocessor_config=sections["video_processor"]) == want


@pytest.mark.parametrize(
    "files, message",
    [
        (
            {"preprocessor_config": SEEN, "processor_config": {"image_processor": {"image_mean": [0.5] * 3}}},
            "processor_config.json: image_processor: image_mean .*/preprocessor_config.json says",
        ),
        (
            {"processor_config": {"image_processor": SEEN, "video_processor": {"image_std": [0.5] * 3}}},
            "video_processor: image_std .* image_processor says",
        ),
        (
            {"preprocessor_config": SEEN, "video_preprocessor_config": {"image_std": [0.5] * 3}},
            "video_preprocessor_config.json: image_std .*/preprocessor_config.json says",
        ),
        (
            {
                "preprocessor_config": {"min_pixels": 784},
                "processor_config": {"image_processor": {"size": {"shortest_edge": 9}}},
            },
            "min_pixels is 9, but .*preprocessor_config.json says 784",
        ),
        (
            {"processor_config": {"feature_extractor": {"sampling_rate": 8000}}},
            "feature_extractor: sampling_rate is 8000",
        ),
        ({"processor_config": {"feature_extractor": 3}}, "feature_extractor: not an object"),
        ({"processor_config": {"video_processor": {"patch_size": 16}}}, "video_processor: patch_size is 16"),
        ({"processor_config": []}, "processor_config.json: not an object"),
    ],
)
def test_contradictions_are_refused(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, **files)


@pytest.mark.parametrize(
    "field, value",
    [
        ("image_mean", [0.5, 0.5]),
        ("image_mean", [0.5, 0.5, math.nan]),
        ("image_mean", [0.5, 0.5, "0.5"]),
        ("image_mean", 0.5),
        ("image_mean", []),
        ("image_std", [0.5, 0.5, 0]),
        ("image_std", [0.5, 0.5, -0.5]),
        ("image_std", [0.5, 0.5, math.inf]),
        ("image_std", [0.5, 0.5, 1e-300]),
        ("rescale_factor", 1 / 127.5),
        ("rescale_factor", "1/255"),
        ("dither", 1.0),
        ("image_std", [0.5, 0.5, 10**400]),
        ("min_pixels", 0),
        ("min_pixels", -1),
        ("min_pixels", True),
        ("min_pixels", math.nan),
        ("min_pixels", 13000000),  # above max_pixels
        ("max_pixels", "many"),
        ("max_pixels", 2**63),
        ("max_pixels", 1e9),
        ("max_pixels", 3135),
        ("max_pixels", {}),
        ("feature_size", math.nan),
        ("feature_size", [128]),
        ("do_rescale", False),
        ("do_normalize", False),
        ("size", [3]),
    ],
)
def test_values_without_sense_are_refused(tmp_path, field, value):
    named = "not an object" if field == "size" else "min_pixels|max_pixels" if "pixels" in field else field
    with pytest.raises(InputError, match=f"preprocessor_config.json: ({named})"):
        read(tmp_path, preprocessor_config={field: value})
