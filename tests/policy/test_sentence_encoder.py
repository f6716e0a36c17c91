"""Sentence encoders: tokens and vectors against `transformers`, directories as sentence-transformers writes them."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import BertModel, BertTokenizerFast

from emsa_jax.errors import InputError
from emsa_jax.policy.sentence_encoder import read_sentence_encoder
from tests.policy.test_bert import tiny
from tests.policy.test_parts import randomize

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a man woman smile ##s the voice is loud . 他 很 难 过 she he not".split()
TEXTS = ["A man smiles.", "The voice is loud.", "他很难过", "", "she is not the man the man the man the man"]


@pytest.fixture(scope="module")
def model():
    return randomize(BertModel._from_config(tiny(vocab_size=len(WORDS)), attn_implementation="eager"), 2)


@pytest.fixture
def directory(model, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tmp_path


def steps(directory, **places):
    """Writes modules.json as sentence-transformers does: kind of a module = its place."""
    modules = [
        {"idx": i, "path": place, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, place) in enumerate(places.items())
    ]
    (directory / "modules.json").write_text(json.dumps(modules))


def put(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def states(model, text, limit=16):
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)})
    tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=limit)
    with torch.no_grad():
        return tokens["input_ids"][0].numpy(), model(**tokens).last_hidden_state[0].numpy()


def length_one(x):
    return x / np.linalg.norm(x)


def test_a_bare_directory_gives_means_of_length_one(model, directory):
    encoder = read_sentence_encoder(directory)
    ids, mask = encoder.tokenize(TEXTS)
    vectors = encoder.embed(TEXTS)
    for i, text in enumerate(TEXTS):
        tokens, hidden = states(model, text)
        np.testing.assert_array_equal(ids[i][mask[i]], tokens, err_msg=text)
        np.testing.assert_allclose(vectors[i], length_one(hidden.mean(0)), atol=2e-6, err_msg=text)
    assert encoder.width == 24 and mask.sum(1).max() == ids.shape[1]
    assert encoder.embed([]).shape == (0, 24)


def test_a_vector_does_not_depend_on_what_else_is_asked(directory):
    encoder = read_sentence_encoder(directory)
    many = encoder.embed(TEXTS * 9)
    for i, text in enumerate(TEXTS):
        alone = encoder.embed([text])[0]
        np.testing.assert_allclose(many[i :: len(TEXTS)], np.tile(alone, (9, 1)), atol=1e-6, err_msg=text)


def test_first_token_linear_and_tanh_as_in_labse(model, directory):
    weight, bias = np.random.default_rng(0).standard_normal((5, 24), np.float32), np.arange(5, dtype=np.float32)
    steps(directory, Transformer="", Pooling="1_Pooling", Dense="2_Dense", Normalize="3_Normalize")
    put(directory / "1_Pooling/config.json", {"word_embedding_dimension": 24, "pooling_mode_cls_token": True})
    dense = {"in_features": 24, "out_features": 5, "bias": True, "activation_function": "torch.nn.Tanh"}
    put(directory / "2_Dense/config.json", dense)
    save_file({"linear.weight": weight, "linear.bias": bias}, directory / "2_Dense/model.safetensors")
    put(directory / "sentence_bert_config.json", {"max_seq_length": 6})
    encoder, text = read_sentence_encoder(directory), TEXTS[-1]
    tokens, hidden = states(model, text, 6)
    assert encoder.tokenize([text])[0][0].tolist() == tokens.tolist() and len(tokens) == 6
    wanted = length_one(np.tanh(weight @ hidden[0] + bias))
    np.testing.assert_allclose(encoder.embed([text])[0], wanted, atol=1e-5)
    put(directory / "2_Dense/config.json", dense | {"activation_function": "torch.nn.Identity"})
    steps(directory, Transformer="", Pooling="1_Pooling", Dense="2_Dense")
    found = read_sentence_encoder(directory).embed([text])[0]
    np.testing.assert_allclose(found, weight @ hidden[0] + bias, rtol=1e-4, atol=1e-4)


def test_padding_and_cut_of_a_tokenizer_file_are_left_aside(directory):
    plain = read_sentence_encoder(directory)
    tokenizer = plain.tokenizer
    tokenizer.enable_padding(length=12)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "vocab.txt").unlink()
    again = read_sentence_encoder(directory)
    ids, mask = again.tokenize(TEXTS)
    assert ids.shape[1] == 13 and mask[-1].sum() == 13  # 11 words, both marks


BAD = {
    "no such directory": lambda d: d.rename(d.with_name("gone")),
    "vocab.txt": lambda d: (d / "vocab.txt").unlink(),
    "the tokenizer has 24 tokens": lambda d: (d / "vocab.txt").write_text("\n".join([*WORDS, "more", "words"])),
    "in this order": lambda d: steps(d, Pooling="1_Pooling", Transformer=""),
    "WordEmbeddings": lambda d: steps(d, WordEmbeddings="", Pooling="1_Pooling"),
    "does not lie in this directory": lambda d: steps(d, Transformer="", Pooling="../other"),
    "is no list of modules": lambda d: (d / "modules.json").write_text('{"type": 1}'),
    "pooling_mode_max_tokens": lambda d: (
        steps(d, Transformer="", Pooling="1_Pooling"),
        put(d / "1_Pooling/config.json", {"pooling_mode_max_tokens": True}),
    ),
    "the encoder is 24 wide": lambda d: (
        steps(d, Transformer="", Pooling="1_Pooling"),
        put(d / "1_Pooling/config.json", {"word_embedding_dimension": 768, "pooling_mode_mean_tokens": True}),
    ),
    "max_seq_length is 99": lambda d: put(d / "sentence_bert_config.json", {"max_seq_length": 99}),
    "model_type is 'xlm-roberta'": lambda d: put(d / "config.json", {"model_type": "xlm-roberta"}),
}


@pytest.mark.parametrize("words", BAD)
def test_a_wrong_directory_is_named(directory, words):
    BAD[words](directory)
    with pytest.raises(InputError, match=words) as error:
        read_sentence_encoder(directory)
    assert "\n" not in str(error.value)
