"""Exports come back through AutoProcessor, with sound and frames.

The processor of videos needs torchvision, which the tests do not have: one of still pictures stands in for it, made of
the same settings, whose names and values are looked at.
"""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, Qwen2_5OmniThinkerForConditionalGeneration
from transformers.models.auto import video_processing_auto
from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import Qwen2_5OmniProcessor
from transformers.video_processing_utils import VideoProcessorMixin

from emsa_jax.data.mel import log_mel
from emsa_jax.policy import hf
from emsa_jax.policy.preprocessor import read_preprocessor
from emsa_jax.policy.prompt_row import patchify

CHAT = [
    {"role": "system", "content": [{"type": "text", "text": "You judge."}]},
    {"role": "user", "content": [{"type": "image"}, {"type": "audio"}, {"type": "text", "text": "How is it?"}]},
]


class Stills(VideoProcessorMixin):
    """Stands where videos would be processed."""

    @classmethod
    def from_pretrained(cls, directory, **_):
        return cls()


@pytest.fixture
def opened(monkeypatch):
    """AutoProcessor.from_pretrained, with a stand-in where torchvision would be needed."""
    fits = Qwen2_5OmniProcessor.check_argument_for_proper_class
    monkeypatch.setattr(video_processing_auto, "AutoVideoProcessor", Stills)
    monkeypatch.setattr(
        Qwen2_5OmniProcessor,
        "check_argument_for_proper_class",
        lambda self, name, given: name == "video_processor" or fits(self, name, given),
    )
    return lambda directory: AutoProcessor.from_pretrained(directory, local_files_only=True, trust_remote_code=False)


def _edit(path, **changed):
    raw = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({name: value for name, value in (raw | changed).items() if value is not None}))


# files of others, which name a processor and do not describe it, or name its tokens otherwise
FOREIGN = {
    "the tokenizer names it": (
        ["preprocessor_config.json", "processor_config.json"],
        {"tokenizer_config.json": {"processor_class": "Qwen2_5OmniProcessor"}},
    ),
    "a part of its settings": (
        ["preprocessor_config.json", "processor_config.json"],
        {"preprocessor_config.json": {"processor_class": "Qwen2_5OmniProcessor", "min_pixels": 3136}},
    ),
    "another processor": (
        ["preprocessor_config.json"],
        {"processor_config.json": {"processor_class": "Qwen2VLProcessor", "feature_extractor": None}},
    ),
    "no pictures": (["preprocessor_config.json"], {"processor_config.json": {"image_processor": None}}),
    "other tokens": ([], {"tokenizer_config.json": {"extra_special_tokens": {"audio_token": "<|IMAGE|>"}}}),
    "tokens without names": ([], {"tokenizer_config.json": {"extra_special_tokens": ["<|AUDIO|>"]}}),
    "the template in the settings": (["chat_template.jinja"], {}),
}


@pytest.mark.parametrize("kind", ["tiny", "exported again", "exported from files of before", *FOREIGN])
def test_an_export_is_a_processor(tiny_policy, tmp_path, opened, kind):
    directory = tiny_policy
    if kind != "tiny":
        source = tmp_path / "source"
        shutil.copytree(tiny_policy, source)
        if kind in FOREIGN:
            removed, edited = FOREIGN[kind]
            if "chat_template.jinja" in removed:
                template = (source / "chat_template.jinja").read_text()
                _edit(source / "tokenizer_config.json", chat_template=template)
            for name in removed:
                (source / name).unlink()
            for name, changed in edited.items():
                _edit(source / name, **changed)
        if kind == "exported from files of before":
            (source / "processor_config.json").unlink()
            for name in ("preprocessor_config.json", "tokenizer_config.json"):
                raw = json.loads((source / name).read_text())
                for field in ("processor_class", "extra_special_tokens", "image_processor_type"):
                    raw.pop(field, None)
                (source / name).write_text(json.dumps(raw))
        (source / "MANIFEST.json").unlink()
        directory = tmp_path / "export"
        hf.save(directory, *hf.load(source), source)
    config = hf.read_checked_config(directory)
    processor = opened(directory)
    assert isinstance(processor, Qwen2_5OmniProcessor)
    assert (processor.audio_token_id, processor.video_token_id) == (config.audio_token_id, config.video_token_id)
    rng = np.random.default_rng(0)
    sound = (0.1 * rng.standard_normal(16000)).astype(np.float32)
    picture = rng.integers(0, 256, (56, 84, 3), np.uint8)
    text = processor.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    made = processor(text=text, audio=[sound], images=[picture], return_tensors="pt")
    ids = made["input_ids"][0].tolist()
    assert ids.count(config.audio_token_id) == 25 and ids.count(config.image_token_id) == 6
    mel = made["input_features"][0, :, :100].T.numpy()
    assert np.abs(mel - log_mel(sound)[:100]).max() < 1e-4
    seen = read_preprocessor(directory, config)
    ours = patchify(config, picture[None], is_video=False, mean=seen.image_mean, std=seen.image_std)
    assert np.abs(made["pixel_values"].numpy() - ours.patches).max() < 1e-4
    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(directory)
    with torch.no_grad():
        assert model(**made).logits.isfinite().all()


def test_videos_are_seen_as_pictures_are(tiny_policy):
    """The section of videos names a class that transformers has, and settings like those of pictures."""
    parts = json.loads((tiny_policy / "processor_config.json").read_text())
    video, image = parts["video_processor"], parts["image_processor"]
    source = importlib.util.find_spec("transformers.models.qwen2_vl.video_processing_qwen2_vl").origin
    assert f"class {video.pop('video_processor_type')}(BaseVideoProcessor)" in Path(source).read_text()
    image.pop("image_processor_type")
    assert video == image


def test_files_that_name_a_processor_stay(tiny_policy, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(tiny_policy, source)
    for name in ("MANIFEST.json", "processor_config.json"):
        (source / name).unlink()
    flat = source / "preprocessor_config.json"
    flat.write_text(json.dumps(json.loads(flat.read_text()) | {"processor_class": "Qwen2_5OmniProcessor"}))
    hf.save(tmp_path / "export", *hf.load(source), source)
    assert not (tmp_path / "export/processor_config.json").exists()
    assert (tmp_path / "export" / flat.name).read_bytes() == flat.read_bytes()
