"""Stages 1 and 2 from clips to a bridge, as a user runs them, with tiny encoders and clips that are made here."""

import json

import av
import numpy as np
import pytest
import soundfile
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertModel, CLIPConfig, CLIPModel, WhisperConfig, WhisperModel

from emsa_jax.errors import InputError
from emsa_jax.jobs.bridges import bridges
from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.training.bridge_options import BridgesOptions
from tests.policy.test_bert import tiny
from tests.policy.test_hubert import LARGE, make
from tests.policy.test_parts import randomize
from tests.policy.test_sentence_encoder import WORDS

CAPTIONS = ["a man", "the voice is loud", "a woman smile ##s", "he is not the man"]
FAST = dict(output_size=8, layers=1, epochs=3, optimizer=OptimizerOptions(learning_rate=1e-3))


@pytest.fixture(autouse=True)
def signals(monkeypatch):
    """The signals of the test's process stay as they are."""
    monkeypatch.setattr("emsa_jax.jobs.bridges.listen", lambda: None)


def clips(tmp_path, write, suffix):
    rows = []
    for i, caption in enumerate(CAPTIONS):
        write(tmp_path / f"{i}{suffix}", np.random.default_rng(i), i)
        split, label = "test" if i > 2 else "train", ("glad", "sad")[i % 2]
        rows.append({"id": str(i), "path": f"{i}{suffix}", "caption": caption, "split": split, "label": label})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "pairs.jsonl")


def video(path, rng, number):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(6 + number):
            picture = np.full((48, 64, 3), rng.integers(0, 255, 3), np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        file.mux(stream.encode())


def clip_model(directory):
    sizes = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    text = sizes | dict(vocab_size=len(WORDS), max_position_embeddings=12, eos_token_id=3, bos_token_id=2)
    config = CLIPConfig(projection_dim=10, vision_config=sizes | dict(image_size=28, patch_size=14), text_config=text)
    randomize(CLIPModel(config), 4).save_pretrained(directory)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(directory / "tokenizer.json"))
    return str(directory)


def test_stage_1(tmp_path, capsys):
    encoder = clip_model(tmp_path / "clip")
    pairs = clips(tmp_path, video, ".mp4")
    bridges(BridgesOptions(pairs=pairs, encoder=encoder, frames=8, **FAST), tmp_path / "run")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    probe = found["test"].pop("probe")
    assert probe["classes"] == ["glad", "sad"] and probe["n"] == 1 and 0 <= probe["zero_shot"]["UAR"] <= 1
    assert found["train"]["n"] == 3 and found["test"] == {"at_1": 1.0, "at_5": 1.0, "n": 1}
    config = json.loads((tmp_path / "run/bridge/config.json").read_text())
    assert (config["hidden_size"], config["positions"], config["text_size"]) == (16, 8, 10)
    (place,) = (tmp_path / "run").glob("features-*")
    assert np.load(place / "valid.npy").sum(1).tolist() == [6, 7, 8, 8]  # never more than there are
    states = np.load(place / "states.npy")
    assert states.shape == (4, 8, 16) and not np.allclose(states[0, 0], states[0, 1])
    with pytest.raises(InputError, match="exists already"):
        bridges(BridgesOptions(pairs=pairs, encoder=encoder, frames=8, **FAST), tmp_path / "run")


def hubert():
    return make(**LARGE)


def whisper():
    sizes = dict(d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=24, max_source_positions=50)
    small = dict(decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=8, vocab_size=20, max_target_positions=8)
    ids = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
    return randomize(WhisperModel(WhisperConfig(num_mel_bins=80, **sizes, **small, **ids)), 5)


@pytest.mark.parametrize(
    "encoder, frames", [(hubert, [12, 14, 14, 14]), pytest.param(whisper, [13, 15, 15, 15], marks=pytest.mark.slow)]
)
def test_stage_2(tmp_path, capsys, encoder, frames):
    encoder().save_pretrained(tmp_path / "ear")
    text = tmp_path / "bert"
    randomize(BertModel._from_config(tiny(vocab_size=len(WORDS)), attn_implementation="eager"), 2).save_pretrained(text)
    (text / "vocab.txt").write_text("\n".join(WORDS) + "\n")

    def sound(path, rng, number):
        soundfile.write(path, 0.1 * rng.standard_normal(4000 + 800 * number), 16000)

    pairs = clips(tmp_path, sound, ".wav")
    options = BridgesOptions(
        kind="aecb", pairs=pairs, encoder=str(tmp_path / "ear"), text_encoder=str(text), seconds=0.3, **FAST
    )
    bridges(options, tmp_path / "run")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["train"]["n"] == 3
    (place,) = (tmp_path / "run").glob("features-*")
    assert np.load(place / "valid.npy").sum(1).tolist() == frames  # cut at 0.3 s


@pytest.mark.parametrize(
    "given, words",
    [
        (dict(pairs=""), "config.pairs: name"),
        (dict(encoder="/nowhere"), "no such directory"),
        (dict(kind="aecb"), "speech encoders are read from hubert"),
    ],
)
def test_bad_input_is_one_line(tmp_path, given, words):
    options = dict(pairs=clips(tmp_path, lambda path, *_: path.touch(), ".mp4"), encoder=clip_model(tmp_path / "clip"))
    with pytest.raises(InputError, match=words) as error:
        bridges(BridgesOptions(**options | given), tmp_path / "run")
    assert "\n" not in str(error.value)
