"""The whole policy against transformers: positions, logits, gradients, arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from emsa_jax.policy import hf
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.parameter_table import get, param_table
from emsa_jax.policy.positions import Grid, row_positions
from emsa_jax.policy.thinker import logits as policy_logits

TOLERANCE = 2e-4
PARTS = {"model.audio_tower.": "audio_tower.", "model.visual.": "visual.", "model.language_model.": "model."}


def on_disk(name):
    """transformers' name of a parameter in memory -> its name in a checkpoint."""
    for memory, disk in PARTS.items():
        name = disk + name.removeprefix(memory) if name.startswith(memory) else name
    return name


@pytest.mark.parametrize("pad", ["left", "right"])
def test_logits_and_positions_of_every_mix(world, case, pad):
    theirs, positions = world.reference(case, pad)
    inputs = world.inputs(case, pad)
    ours = np.asarray(world.logits(world.params, None, inputs))
    width = theirs.shape[1]
    at = slice(-width, None) if pad == "left" else slice(width)
    mask = inputs.mask[:, at]
    assert inputs.mask.sum() == mask.sum() == sum(len(r.tokens) for r in world.rows(case))
    np.testing.assert_array_equal(inputs.positions[:, :, at][:, mask], positions[:, mask])
    assert np.abs(ours[:, at] - theirs)[mask].max() < TOLERANCE
    assert np.abs(theirs[mask]).max() > 1  # the comparison is not one of noise
    assert ours.dtype == np.float32


def test_any_mix_is_one_program(world):
    logits = world.logits
    logits(world.params, None, world.inputs("text"))
    before = logits._cache_size()
    for case in ("text", "audio", "image", "video", "film", "mix"):
        for pad in ("left", "right"):
            logits(world.params, None, world.inputs(case, pad))
    assert logits._cache_size() == before
    if world.name == "base":  # and another budget is another program
        logits(world.params, None, build_inputs(world.config, world.rows("text")))
        assert logits._cache_size() == before + 1


def test_a_row_does_not_depend_on_its_neighbours(world):
    rows = world.rows("mix")
    together = np.asarray(world.logits(world.params, None, build_inputs(world.config, rows, world.budget)))
    empty = world.rows(([1],))
    for i, row in enumerate(rows):
        inputs = build_inputs(world.config, [row, *empty * 3], world.budget)
        alone = np.asarray(world.logits(world.params, None, inputs))[0]
        n = len(row.tokens)
        assert np.abs(alone[-n:] - together[i, -n:]).max() < 1e-4


def test_next_position_follows_the_last_column(world):
    """generate() continues from the last column, also where that is not the largest position."""
    inputs = world.inputs("film_quirks")
    _, positions = world.reference("film_quirks")
    np.testing.assert_array_equal(inputs.next_position, positions[:, :, -1] + 1)
    np.testing.assert_array_equal(world.inputs("film_quirks", "right").next_position, inputs.next_position)
    if world.name == "base":
        assert inputs.next_position[0, 1] <= positions[:, 1].max()  # the quirk is there


@pytest.mark.parametrize("seed", range(4))
def test_positions_of_random_layouts(world, seed):
    rng = np.random.default_rng(seed)
    for together in (False, True):
        parts = []
        for _ in range(int(rng.integers(1, 5))):
            t, h, w = int(rng.integers(1, 6)), 2 * int(rng.integers(1, 4)), 2 * int(rng.integers(1, 4))
            seconds, frames = float(rng.choice([0.1, 0.3, 0.7, 1.0, 1.9, 4.4])), int(rng.integers(3, 600))
            parts += [
                int(rng.integers(0, 4)),
                [("film", (t, h, w), seconds, frames)]
                if together
                else [("audio", frames), ("image", (1, h, w)), ("video", (t, h, w), seconds)][int(rng.integers(3))],
            ]
        parts = [p[0] if isinstance(p, list) else p for p in parts] + [2]
        (row,) = world.rows((parts,))
        x = world.torch_inputs([row])
        theirs, _ = world.model.model.get_rope_index(
            x["input_ids"],
            x.get("image_grid_thw"),
            x.get("video_grid_thw"),
            x["attention_mask"],
            together,
            x["feature_attention_mask"].sum(-1) if "feature_attention_mask" in x else None,
            x.get("video_second_per_grid"),
        )
        ours = row_positions(
            world.config,
            row.tokens,
            [len(a) for a in row.audios],
            [v.grid for v in row.images],
            [v.grid for v in row.videos],
            together,
        )
        np.testing.assert_array_equal(ours, theirs[:, 0].numpy(), err_msg=str(parts))


def test_time_ids_are_truncated_in_float32(world):
    c = world.config
    for seconds in (0.07, 0.28, 0.56, 1.12, 1 / 3, 2.2):
        grid = Grid(40, 2, 2, seconds)
        ours = row_positions(c, [c.video_token_id] * 40, videos=[grid])[0]
        theirs = (torch.arange(40) * torch.tensor(seconds) * c.position_id_per_seconds).long()
        np.testing.assert_array_equal(ours, theirs.numpy())


def test_gradients_of_every_parameter(world):
    rows = world.rows("mix")
    x = world.torch_inputs(rows)
    labels = x["input_ids"].masked_fill(x["attention_mask"] == 0, -100)
    labels[:, :3] = -100
    world.model.zero_grad()
    world.model.model.rope_deltas = None
    loss = world.model(**x, labels=labels, use_cache=False).loss
    loss.backward()
    inputs, targets = build_inputs(world.config, rows), labels[:, 1:].numpy()

    @jax.jit
    def loss_and_gradients(params):
        def loss_fn(params):
            logp = jax.nn.log_softmax(policy_logits(params, None, world.config, inputs)[:, :-1])
            picked = jnp.take_along_axis(logp, jnp.maximum(targets, 0)[..., None], -1)[..., 0]
            return -jnp.where(targets >= 0, picked, 0).sum() / (targets >= 0).sum()

        return jax.value_and_grad(loss_fn)(params)

    ours, gradients = loss_and_gradients(world.params)
    assert abs(float(ours) - loss.item()) < TOLERANCE
    theirs = {on_disk(n): p.grad for n, p in world.model.named_parameters()}
    world.model.zero_grad(set_to_none=True)
    seen = set()
    for spec in param_table(world.config):
        gradient = np.asarray(get(gradients, spec.path))
        for n in range(max(spec.layers, 1)):
            name = spec.disk.format(n=n)
            seen.add(name)
            if "audio_bos_eos" in name:  # no forward pass uses it
                assert theirs[name] is None and not gradient.any()
                continue
            want = theirs[name].numpy()
            got = gradient[n] if spec.layers else gradient
            scale = np.abs(want).max()
            assert np.isfinite(got).all()
            assert np.abs(got - want).max() <= 1e-3 * scale + 1e-7, name
            # a key's bias shifts all logits of a query alike, so its gradient is pure rounding
            assert scale > 1e-6 or "k_proj.bias" in name or "attn.k.bias" in name, name
    assert seen == set(theirs)


def test_bfloat16_is_near(worlds):
    world = worlds["base"]
    model = world.reload(dtype=torch.bfloat16)
    x = world.torch_inputs(world.rows("mix"))
    model.model.rope_deltas = None
    with torch.no_grad():
        theirs = model(**x, use_cache=False).logits.float().numpy()
    exact, _ = world.reference("mix")
    config, params = hf.load(world.directory, jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    ours = np.asarray(world.logits(params, None, world.inputs("mix")))
    mask = x["attention_mask"].numpy().astype(bool)
    ours = ours[:, -mask.shape[1] :][mask]
    theirs, exact = theirs[mask], exact[mask]
    assert np.isfinite(ours).all()
    rounding = np.abs(theirs - exact).mean()  # what bfloat16 costs transformers itself
    assert 0 < np.abs(ours - exact).mean() < 2 * rounding
