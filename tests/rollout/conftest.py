"""A random policy of a few thousand parameters, four prompts of different lengths, and its sampler."""

import functools
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.policy import decoder
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.lora import Adapter, init_adapter
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.prompt_row import Row
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.thinker_config import AudioConfig, TextConfig, ThinkerConfig, VisionConfig
from emsa_jax.rollout.rollout_options import SamplingOptions
from emsa_jax.rollout.sampler import ROLLOUT, Completions, prefill, sample

PAD, END, VOCABULARY = 0, 1, 24
QUICK = {"xla_backend_optimization_level": "0"}  # programs run but a few times here: compiling is the cost
CONFIG = ThinkerConfig(
    text=TextConfig(
        vocab_size=VOCABULARY,
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
    audio_token_id=17,
    image_token_id=18,
    video_token_id=19,
    audio_start_token_id=20,
    audio_end_token_id=21,
    vision_start_token_id=22,
    vision_end_token_id=23,
    bos_token_id=2,
    eos_token_id=END,
    pad_token_id=PAD,
    user_token_id=3,
)


@dataclass(frozen=True)
class World:
    """Left-padded prompts [N, P] of the policy, and jitted programs that are compiled once each.

    Caches on methods keep their object alive: these live as long as the session anyway.
    """

    config: ThinkerConfig
    params: dict
    adapter: Adapter | None
    slots: int = 12
    lengths: tuple[int, ...] = (7, 3, 9, 5)

    @property
    def rows(self) -> int:
        return len(self.lengths)

    @cached_property
    def prompts(self):
        rng = np.random.default_rng(0)
        rows = [Row(rng.integers(4, 17, n).tolist()) for n in self.lengths]
        return encode_prompts(self.params, self.adapter, self.config, build_inputs(self.config, rows))

    @cached_property
    def state(self):
        run = jax.jit(lambda p: prefill(self.params, self.adapter, self.config, p), compiler_options=QUICK)
        return run(self.prompts)

    @functools.cache  # noqa: B019
    def _program(self, options, slots, group_size, logp_temperature):
        def run(state, noise, ids, forced, lengths, limit):
            return sample(
                self.params,
                self.adapter,
                self.config,
                state,
                options=options,
                group_size=group_size,
                slots=slots,
                noise=noise,
                prompt_ids=ids,
                forced=forced,
                forced_length=lengths,
                limit=limit,
                logp_temperature=logp_temperature,
            )

        return jax.jit(run, compiler_options=QUICK)

    def sample(
        self,
        options=None,
        group_size=4,
        noise=(0, 0, ROLLOUT),
        state=None,
        ids=None,
        forced=None,
        forced_length=None,
        limit=None,
        slots=None,
        logp_temperature=None,
    ) -> Completions:
        """`rollout.sampler.sample` with plain answers of full length as defaults; host arrays."""
        slots = slots or self.slots
        ids = np.arange(self.rows) if ids is None else np.asarray(ids)
        n = len(ids)
        forced = np.zeros((n, 3), np.int32) if forced is None else np.asarray(forced, np.int32)
        forced_length = np.zeros(n, np.int32) if forced_length is None else np.asarray(forced_length, np.int32)
        limit = np.full(n, slots, np.int32) if limit is None else np.asarray(limit, np.int32)
        run = self._program(options or SamplingOptions(), slots, group_size, logp_temperature)
        return jax.device_get(
            run(state or self.state, np.array(noise, np.int32), ids.astype(np.int32), forced, forced_length, limit)
        )

    @functools.cache  # noqa: B019
    def _learner(self):
        return jax.jit(
            lambda tokens, temperature: group_logprobs(
                self.params, self.adapter, self.config, self.prompts, tokens, temperature
            )[0],
            compiler_options=QUICK,
        )

    def learner_logprobs(self, tokens, temperature) -> np.ndarray:
        """[N, G, C], as an update computes them."""
        return np.asarray(self._learner()(tokens, jnp.float32(temperature)))

    @functools.cache  # noqa: B019
    def _pairs(self):
        def run(tokens):
            prompts, text = self.prompts, self.params["text"]
            n, g, c = tokens.shape
            x = jnp.concatenate([jnp.repeat(prompts.x, g, 0), text["embed_tokens"][tokens].reshape(n * g, c, -1)], 1)
            after = jnp.moveaxis(prompts.next_position, 1, 0)[:, :, None] + jnp.arange(c)
            positions = jnp.concatenate([jnp.moveaxis(prompts.positions, 1, 0), after], 2).repeat(g, axis=1)
            mask = jnp.concatenate([prompts.mask, jnp.ones((n, c), bool)], 1).repeat(g, axis=0)
            hidden, _ = decoder.forward(text, self.adapter, self.config.text, x, positions, mask)
            return (hidden[:, -c - 1 : -1] @ decoder.head(text).T).reshape(n, g, c, -1)

        return jax.jit(run, compiler_options=QUICK)

    def logits(self, tokens) -> np.ndarray:
        """[N, G, C, V]: logits before each answer token, every (prompt, answer) pair run whole and on its own."""
        return np.asarray(self._pairs()(tokens))

    def __hash__(self):
        return id(self)

    def __eq__(self, other):
        return self is other


def random_adapter(config, seed=1):
    adapter = init_adapter(config, LoraOptions(rank=2, alpha=4.0), jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda t: jnp.asarray(rng.standard_normal(t.shape, np.float32) * 0.3), adapter)


@pytest.fixture(scope="session")
def world():
    made = World(CONFIG, init_params(CONFIG, jax.random.key(0)), random_adapter(CONFIG))
    assert made.prompts.mask.shape[0] == made.rows  # encoded here, not first within another program
    return made


@pytest.fixture(scope="session")
def even():
    """A policy to which all tokens are alike and that never ends: its answers are its noise."""
    from dataclasses import replace

    config = replace(CONFIG, eos_token_id=-1)
    params = init_params(config, jax.random.key(0))
    params["text"]["lm_head"] = jnp.zeros_like(params["text"]["lm_head"])
    return World(config, params, None)
