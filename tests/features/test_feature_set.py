import jax
import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.features.feature_set import read_feature_set, with_states
from emsa_jax.policy.bert import encode_bert
from emsa_jax.policy.encoder_tables import bert_table
from emsa_jax.policy.parameter_table import init_table
from emsa_jax.policy.thinker_config import BertConfig

BERT = BertConfig(
    vocab_size=60,
    hidden_size=8,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=16,
)


def test_arrays_come_as_they_are_and_what_is_not_finite_is_counted(parts, write):
    parts["train"]["audio"][2, 3, 1] = -np.inf
    parts["train"]["vision"][0, :2] = np.nan
    found = read_feature_set(write(parts), 1.0, "none", None)
    batch = found.batches["train"]
    assert batch.audio[2, 3, 1] == 0 and (batch.vision[0, :2] == 0).all()
    np.testing.assert_array_equal(batch.vision[1:], parts["train"]["vision"][1:].astype(np.float32))
    assert batch.mask.sum(1).tolist() == [7, 5] * 10 + [7] and batch.labels.shape == (21, 1)
    assert [note.partition("train: ")[2] for note in found.notes] == [
        "numbers that are not finite became 0: 1 of audio, 8 of vision"
    ]


def test_text_is_features_or_what_bert_reads_or_its_states(parts, write):
    path = write(parts)
    assert read_feature_set(path, 1.0, "none", None).batches["valid"].text.shape == (7, 7, 6)
    batches = read_feature_set(path, 1.0, "none", BERT).batches
    assert batches["valid"].text.shape == (7, 3, 7)
    params = init_table(list(bert_table(BERT)), jax.random.key(0))["bert"]
    states = with_states(batches, params, BERT, 4)["valid"]
    text = batches["valid"].text
    expected = encode_bert(params, BERT, text[:, 0], text[:, 1], text[:, 2])
    np.testing.assert_allclose(states.text, expected, atol=1e-5)
    assert (states.mask == batches["valid"].mask).all()


def test_frames_are_aligned_with_words(parts, write):
    path = write(parts)
    for align in ("mmsa", "contiguous"):
        batch = read_feature_set(path, 1.0, align, None).batches["test"]
        assert batch.audio.shape == (9, 7, 5) and batch.vision.shape == (9, 7, 4)


def test_utterances_without_a_label_or_a_word_are_told(parts, write):
    mask = np.ones(21)
    mask[[1, 4]] = 0
    parts["train"]["mask"] = mask
    parts["test"]["text_bert"][3, 1] = 0
    found = read_feature_set(write(parts), 1.0, "none", None)
    assert len(found.parts["train"].id) == len(found.batches["train"].labels) == 19
    assert found.parts["train"].id[1] == "video_0$_$2"
    assert found.batches["test"].mask[3].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert [note.partition(": ")[2].partition(": ")[2] for note in found.notes] == [
        "2 utterances without a label are left out",
        "1 utterances without words count as one step of padding",
    ]


def spoil(part, key, value):
    return lambda parts: parts[part].__setitem__(key, value(parts[part][key]))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda parts: parts.pop("valid"), "no part 'valid'"),
        (spoil("test", "regression_labels", lambda x: 3 * np.sign(x)), "outside [-1, 1]; another data set's range"),
        (
            spoil("test", "audio", lambda x: x[:, :, :4]),
            "test: audio has shape [9, 4] for each utterance, that of train",
        ),
        (spoil("valid", "vision", lambda x: x[:, :3]), "valid: vision has shape [3, 4]"),
        (spoil("valid", "text", lambda x: x[:4]), "valid: text has shape [4, 7, 6], expected [7, any, any]"),
        (spoil("train", "text_bert", lambda x: x + 60), "train: text_bert has the id 119; this BERT has 60"),
        (spoil("train", "text_bert", lambda x: np.tile(x, (1, 1, 3))), "has 21 steps; BERT has 16"),
        (lambda parts: parts["train"].pop("text_bert"), "train has no text_bert"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(parts, write, change, words):
    change(parts)
    with pytest.raises(InputError) as raised:
        read_feature_set(write(parts), 1.0, "none", BERT)
    assert words in str(raised.value) and "\n" not in str(raised.value)
