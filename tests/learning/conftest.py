"""A random policy of a few thousand parameters, and its log-probabilities computed the plain way."""

from dataclasses import astuple, dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.policy import decoder
from emsa_jax.policy.inputs import InputShape, PromptInputs, build_inputs, smallest_shape
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.prompt_row import Row, expand
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.thinker_config import AudioConfig, TextConfig, ThinkerConfig, VisionConfig

END, SOUND = 1, 17
CONFIG = ThinkerConfig(
    text=TextConfig(
        vocab_size=24,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        mrope_section=(1, 1, 0),
        rope_theta=100.0,
    ),
    audio=AudioConfig(
        num_mel_bins=4,
        d_model=8,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=8,
        n_window=4,
        output_dim=16,
    ),
    vision=VisionConfig(
        depth=1,
        hidden_size=8,
        intermediate_size=8,
        num_heads=2,
        patch_size=2,
        window_size=8,
        fullatt_block_indexes=(0,),
        out_hidden_size=16,
    ),
    audio_token_id=SOUND,
    image_token_id=18,
    video_token_id=19,
    audio_start_token_id=20,
    audio_end_token_id=21,
    vision_start_token_id=22,
    vision_end_token_id=23,
    bos_token_id=2,
    eos_token_id=END,
    pad_token_id=0,
    user_token_id=3,
)
QUICK = {"xla_backend_optimization_level": "0"}  # programs run but a few times here: compiling is the cost


def quick(function):
    return jax.jit(function, compiler_options=QUICK)


@dataclass(frozen=True)
class World:
    """Four prompts of different lengths, two of them with sound, padded on the left."""

    config: ThinkerConfig
    base: dict

    def adapter(self, seed: int, *targets: str):
        """A random adapter of some linears, neither factor of which is zero."""
        targets = targets or ("q_proj", "v_proj", "down_proj")
        fresh = init_adapter(self.config, LoraOptions(2, 4.0, targets), jax.random.key(seed))
        rng = np.random.default_rng(seed)
        return jax.tree.map(lambda t: jnp.asarray(rng.standard_normal(t.shape, np.float32) * 0.3), fresh)

    @cached_property
    def rows(self) -> list[Row]:
        rng = np.random.default_rng(0)
        rows = []
        for words, frames in ((7, 0), (3, 13), (9, 0), (2, 22)):
            sounds = [rng.standard_normal((frames, 4)).astype(np.float32)] if frames else []
            tokens = rng.integers(4, 17, words).tolist() + [SOUND] * len(sounds) + [5]
            rows.append(Row(expand(self.config, tokens, sounds), sounds))
        return rows

    @cached_property
    def inputs(self) -> PromptInputs:
        return build_inputs(self.config, self.rows)

    def batches(self, count: int) -> PromptInputs:
        """The prompts in `count` micro-batches, stacked on a first axis, each with a budget for its own media."""
        size = len(self.rows) // count
        parts = [self.rows[i : i + size] for i in range(0, len(self.rows), size)]
        needs = [astuple(smallest_shape(self.config, part))[:-1] for part in parts]  # without `encoded`
        budget = InputShape(*np.max(needs, axis=0).tolist())
        return jax.tree.map(lambda *t: np.stack(t), *(build_inputs(self.config, part, budget) for part in parts))

    @cached_property
    def prompts(self):
        return quick(lambda inputs: encode_prompts(self.base, None, self.config, inputs))(self.inputs)


def pair_logprobs(params, adapter, config, prompts, tokens, temperature):
    """(log-probabilities, entropies) [N, G, C]: every prompt runs again with each of its answers, all logits held."""
    text = params["text"]
    n, g, c = tokens.shape
    x = jnp.concatenate([jnp.repeat(prompts.x, g, 0), text["embed_tokens"][tokens].reshape(n * g, c, -1)], axis=1)
    after = jnp.moveaxis(prompts.next_position, 1, 0)[:, :, None] + jnp.arange(c)
    positions = jnp.concatenate([jnp.moveaxis(prompts.positions, 1, 0), after], axis=2).repeat(g, axis=1)
    mask = jnp.concatenate([prompts.mask, jnp.ones((n, c), bool)], axis=1).repeat(g, axis=0)
    hidden, _ = decoder.forward(text, adapter, config.text, x, positions, mask)
    logps = jax.nn.log_softmax(hidden[:, -c - 1 : -1] @ decoder.head(text).T / temperature).reshape(n, g, c, -1)
    chosen = jnp.take_along_axis(logps, tokens[..., None], axis=-1)[..., 0]
    return chosen, jax.lax.stop_gradient(-(jnp.exp(logps) * logps).sum(-1))


def toy_logprobs(params, adapter, config, prompts, tokens, temperature=1.0, remat="none", packing=None):
    """Stands for the decoder where only what is done with log-probabilities is looked at: it compiles at once. What
    comes next depends on the prompt's embeddings, on the token before and on the adapter."""
    text, lora = params["text"], None if adapter is None else adapter.weights["text"]["q_proj"]
    before = text["embed_tokens"][jnp.pad(tokens, ((0, 0), (0, 0), (1, 0)))[:, :, :-1]]
    prompt = (prompts.x * prompts.mask[..., None]).sum(1)[:, None, None]
    x = sum(t / jnp.linalg.norm(t, axis=-1, keepdims=True) for t in (before, prompt))
    hidden = x if lora is None else x + x @ lora["a"][0].T @ lora["b"][0].T
    logps = jax.nn.log_softmax(hidden @ text["lm_head"].T / temperature)
    chosen = jnp.take_along_axis(logps, tokens[..., None], axis=-1)[..., 0]
    return chosen, jax.lax.stop_gradient(-(jnp.exp(logps) * logps).sum(-1))


@pytest.fixture(scope="session")
def toy():
    return toy_logprobs


@pytest.fixture(scope="session")
def world():
    made = World(CONFIG, init_params(CONFIG, jax.random.key(0)))
    assert made.prompts.mask.shape[0] == 4  # encoded here, not first within another program
    return made


@pytest.fixture(scope="session")
def quickly():
    """jax.jit that compiles in half the time."""
    return quick


@pytest.fixture(scope="session")
def plainly():
    return pair_logprobs


@pytest.fixture(scope="session")
def same_trees():
    """Compares trees leaf by leaf, to a share of the largest entry of the expected leaf; none may be all zero."""

    def check(ours, expected, share=1e-4):
        pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True)
        for i, (a, b) in enumerate(pairs):
            largest = np.abs(b).max()
            assert largest > 0 and np.abs(np.asarray(a) - np.asarray(b)).max() < share * largest, i

    return check
