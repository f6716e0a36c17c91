"""Frozen towers: states given in place of media are those that the policy computes, from disk or not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.data.records import Clip, Entry
from emsa_jax.parallel.batch_sharding import SINGLE_PROCESS, BatchSharding
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.preprocessor import Preprocessor
from emsa_jax.policy.thinker import encode, keeps_states, trained_towers
from emsa_jax.policy.thinker_config import ClipConfig
from emsa_jax.policy.tiny import SPECIAL, tiny_config
from emsa_jax.rollout.encodings import open_encoder
from emsa_jax.rollout.prompts import Prompter
from emsa_jax.rollout.rollout_options import EncodingOptions, PromptOptions

CONFIG = tiny_config({name: i for i, name in enumerate(SPECIAL)}, 64)


class Words:
    """A tokenizer and a format: the media's placeholders and nothing else."""

    added_tokens_decoder, all_special_ids, unk_token_id, unk_token = {}, [], None, None

    def apply_chat_template(self, chat, **_):
        names = {"audio": "<|AUDIO|>", "video": "<|VIDEO|>"}
        return [names[part["type"]] for part in chat[-1]["content"] if part["type"] in names]

    def __call__(self, names, **_):
        if isinstance(names, str):  # what a person said
            return {"input_ids": [40] * len(names), "offset_mapping": [(i, i + 1) for i in range(len(names))]}
        return {"input_ids": [40, *(SPECIAL.index(name) for name in names)]}

    def ask(self, modalities, language):
        return ""


@pytest.fixture(scope="module")
def params():
    return init_params(CONFIG, jax.random.key(0))


@pytest.fixture(scope="module")
def clips():
    """Sound of one chunk and of three; frames of two sizes, an odd number of them; one clip of words alone."""
    rng, found = np.random.default_rng(0), []
    for i, (mel, frames) in enumerate(
        [(150, (3, 56, 84)), (50, (0, 28, 28)), (300, (2, 28, 56)), (0, (0, 28, 28)), (0, (4, 56, 56))]
    ):
        found.append(
            Clip(str(i), "", 0.0, "train", "en", rng.integers(0, 256, (*frames, 3)).astype(np.uint8), 2.0,
                 rng.standard_normal((mel, 128)).astype(np.float32))
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def opened(params, clips, tmp_path_factory):
    """(directory or None) -> a prompter that encodes, and its encoder."""
    entries = [Entry(c.id, "", 0.0, "train", "en", *c.frames.shape[:3], 2.0, len(c.mel)) for c in clips]

    def open(directory, params=params, config=CONFIG):
        checkpoint = Checkpoint(None, config, None, Words(), Preprocessor())
        options = EncodingOptions(str(directory or ""), 1.0 if directory else 0.0)
        workdir = tmp_path_factory.mktemp("unused")
        encoder = open_encoder(
            checkpoint, entries, ("audio", "video"), dtype="float32", options=options, workdir=workdir
        )
        encoder.load(params)
        return Prompter(checkpoint, Words(), PromptOptions(), encoder=encoder), entries

    return open


def inputs_of(prompter, entries, clips, sharding=SINGLE_PROCESS):
    shape = prompter.input_shape(entries, len(clips), 128)
    return prompter.inputs(clips, shape, len(clips), sharding)


def test_states_stand_for_media(params, clips, opened):
    """In one shard, and in two that are packed for themselves."""
    prompter, entries = opened(None)
    plain = Prompter(prompter.checkpoint, Words(), PromptOptions())
    run = jax.jit(lambda params, inputs: encode(params, None, CONFIG, inputs))
    for chosen, sharding in ((clips, SINGLE_PROCESS), (clips[:4], BatchSharding(num_shards=2))):
        ours, theirs = (inputs_of(p, entries, chosen, sharding) for p in (prompter, plain))
        assert ours.mel.shape[-1] == ours.patches.shape[-1] == 1 and theirs.states is None
        mask = theirs.mask
        a, b = np.asarray(run(params, ours))[mask], np.asarray(run(params, theirs))[mask]
        np.testing.assert_allclose(a, b, atol=2e-4 * np.abs(b).max())


def test_what_is_read_is_what_was_made_to_the_bit(params, clips, opened, tmp_path):
    """Made, read, read by another, and made without a store; alone or in any batch."""
    prompter, entries = opened(tmp_path)
    first = inputs_of(prompter, entries, clips)
    assert prompter.encoder.store.made == 6 and prompter.encoder.store.read == 0
    again, (other, _), (bare, _) = inputs_of(prompter, entries, clips), opened(tmp_path), opened(None)
    others = [again, inputs_of(other, entries, clips), inputs_of(bare, entries, clips)]
    assert (other.encoder.store.made, other.encoder.store.read) == (0, 6)
    for inputs in others:
        assert jax.tree.all(jax.tree.map(np.array_equal, first, inputs))
    assert "6 read, 0 made" in other.encoder.summary() and bare.encoder.summary() == ""
    alone = inputs_of(bare, entries, clips[2:3])
    rows = np.flatnonzero(alone.states.audio.any(-1))
    assert len(rows) == 75
    found = [first.states.audio[i : i + 75] for i in range(len(first.states.audio) - 74)]
    assert any(np.array_equal(alone.states.audio[rows], block) for block in found)


CLIP = ClipConfig(
    hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=28, out_hidden_size=128
)


@pytest.mark.parametrize("tokens", ["cls", "patches"])
def test_clip_is_kept_as_omnis_tower_is(clips, opened, tmp_path, tokens):
    """States stand for frames; the projector is no part of what they depend on, the kind of tokens is."""
    config = replace(CONFIG, vision=replace(CLIP, tokens=tokens))
    params = init_params(config, jax.random.key(3))
    prompter, entries = opened(tmp_path, params, config)
    plain = Prompter(prompter.checkpoint, Words(), PromptOptions())
    run = jax.jit(lambda params, inputs: encode(params, None, config, inputs))
    ours, theirs = (inputs_of(p, entries, clips) for p in (prompter, plain))
    assert ours.patches.shape[-1] == 1 and theirs.states is None and prompter.encoder.store.made == 6
    a, b = np.asarray(run(params, ours))[theirs.mask], np.asarray(run(params, theirs))[theirs.mask]
    np.testing.assert_allclose(a, b, atol=2e-4 * np.abs(b).max())
    moved = dict(params, vision=params["vision"] | {"proj": jax.tree.map(lambda x: x + 1, params["vision"]["proj"])})
    other, _ = opened(tmp_path, moved, config)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, inputs_of(other, entries, clips)))
    assert (other.encoder.store.made, other.encoder.store.read) == (0, 6)
    kind = {"cls": "patches", "patches": "cls"}[tokens]
    last, _ = opened(tmp_path, params, replace(config, vision=replace(CLIP, tokens=kind)))
    inputs_of(last, entries, clips)
    assert (last.encoder.store.made, last.encoder.store.read) == (3, 3)


def test_a_damaged_entry_is_made_again_and_told(clips, opened, tmp_path):
    prompter, entries = opened(tmp_path)
    first = inputs_of(prompter, entries, clips)
    path = next(path for path in tmp_path.rglob("*") if path.is_file())
    path.write_bytes(path.read_bytes()[:-4] + b"\0\1\2\3")
    other, _ = opened(tmp_path)
    assert jax.tree.all(jax.tree.map(np.array_equal, first, inputs_of(other, entries, clips)))
    assert other.encoder.summary().startswith("warning: ") and "1 were damaged" in other.encoder.summary()


def test_other_weights_are_other_entries_but_for_projectors(params, clips, opened, tmp_path):
    prompter, entries = opened(tmp_path)
    inputs_of(prompter, entries, clips)
    tower = dict(params["audio"])
    projector = dict(params, audio=tower | {"proj": jax.tree.map(lambda x: x + 1, tower["proj"])})
    layer = dict(params, audio=tower | {"conv1": jax.tree.map(lambda x: x * jnp.float32(1.01), tower["conv1"])})
    for changed, made in ((projector, 0), (layer, 3)):
        other, _ = opened(tmp_path, changed)
        inputs_of(other, entries, clips)
        assert (other.encoder.store.made, other.encoder.store.read) == (made, 6 - made)


@pytest.mark.parametrize(
    "targets, also, trained",
    [
        (("q_proj",), (), set()),
        (("q_proj", "audio.proj", "vision.merger_in"), ("vision.merger_norm",), set()),
        (("q_proj",), ("audio.ln_post", "audio.proj", "text.norm"), set()),
        (("q_proj", "audio.fc1"), (), {"audio"}),
        (("q_proj",), ("vision.patch_embed",), {"vision"}),
        (("q_proj", "vision.q"), ("audio",), {"audio", "vision"}),
    ],
)
def test_what_may_be_trained_while_states_stay(params, targets, also, trained):
    adapter = init_adapter(CONFIG, LoraOptions(2, 2.0, targets, also=also), jax.random.key(0), params)
    assert trained_towers(adapter) == trained and keeps_states(adapter) == (not trained)
