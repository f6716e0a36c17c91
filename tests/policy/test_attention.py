"""Every kernel equals attention of each sequence on its own: splash attention interpreted, cuDNN's calls by XLA."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from emsa_jax.policy import attention, attention_kernels, decoder
from emsa_jax.policy.attention import causal_attention, choose_kernel, group_attention
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import AudioConfig, TextConfig, ThinkerConfig, VisionConfig

KERNELS = ("plain", "cudnn", "splash")
QUICK = {"xla_backend_optimization_level": "0"}  # programs run once here: compiling is the cost


@pytest.fixture(autouse=True)
def anywhere(monkeypatch):
    """Kernels of other places run on any backend, with the arguments that they get there."""
    monkeypatch.setattr(attention, "BLOCK", 64)  # so that longer prompts take several
    maker = attention_kernels.splash.make_splash_mha_single_device
    monkeypatch.setattr(
        attention_kernels.splash, "make_splash_mha_single_device", functools.partial(maker, interpret=True)
    )
    for name in ("cudnn_causal", "cudnn_answers"):
        monkeypatch.setattr(attention, name, functools.partial(getattr(attention, name), implementation="xla"))


def case(lengths, heads, kv_heads, group, answer, left=True, d=8, dtype=np.float32):
    """(pq, pk, pv, aq, ak, av), prompt mask, and cotangents [prompts, answers] that are zero on padding."""
    rng = np.random.default_rng(0)
    n, p = len(lengths), max(lengths) + 1  # every row is padded
    arrays = [
        rng.standard_normal((*lead, h, d)).astype(dtype)
        for lead in ((n, p), (n * group, answer))
        for h in (heads, kv_heads, kv_heads)
    ]
    mask = np.arange(p) < np.array(lengths)[:, None]
    mask = mask[:, ::-1] if left else mask
    pull = [rng.standard_normal(arrays[i].shape).astype(dtype) for i in (0, 3)]
    pull[0] *= mask[..., None, None].astype(dtype)
    return arrays, mask, pull


def softmax_attention(q, k, v, allowed):
    """One sequence: q [S, H, d], k and v [T, K, d], allowed [S, T]."""
    k, v = (jnp.repeat(x.astype(jnp.float32), q.shape[1] // x.shape[1], axis=1) for x in (k, v))
    logits = jnp.where(allowed, jnp.einsum("shd,thd->hst", q, k) / np.sqrt(q.shape[-1]), -jnp.inf)
    return jnp.einsum("hst,thd->shd", jax.nn.softmax(logits), v)


def each_alone(pq, pk, pv, aq, ak, av, mask):
    """What `group_attention` should give, float32, from one sequence's valid tokens at a time; zeros on padding."""
    group, c = len(aq) // len(pq), aq.shape[1]
    prompts, answers = [], []
    for i, valid in enumerate(mask):
        at = np.flatnonzero(valid)
        prompts.append(
            jnp.zeros(pq[i].shape)
            .at[at]
            .set(softmax_attention(pq[i, at], pk[i, at], pv[i, at], np.tri(len(at), dtype=bool)))
        )
        for j in range(i * group, (i + 1) * group):
            allowed = np.concatenate([np.ones((c, len(at)), bool), np.tri(c, dtype=bool)], axis=1)
            k, v = jnp.concatenate([pk[i, at], ak[j]]), jnp.concatenate([pv[i, at], av[j]])
            answers.append(softmax_attention(aq[j], k, v, allowed))
    return jnp.stack(prompts), jnp.stack(answers)


def pulled(function, arrays, pull):
    """(outputs, gradients of all arrays under the cotangents `pull`)."""

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(*arrays):
        out, back = jax.vjp(function, *arrays)
        return out, back(tuple(pull))

    return run(*arrays)


@functools.cache
def expected(*shape):
    """`case(*shape)` with the outputs and gradients that every kernel should give."""
    arrays, mask, pull = case(*shape)
    return arrays, mask, pull, pulled(lambda *x: each_alone(*x, mask), arrays, pull)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "shape",
    [
        ((3, 9), 4, 2, 3, 5),
        ((11, 4), 6, 2, 1, 6, False),
        ((150, 88), 2, 1, 3, 70),  # more than one block, answers across their borders
        ((129,), 2, 2, 1, 130, False),
    ],
)
def test_groups_are_each_sequence_alone(kernel, shape):
    arrays, mask, pull, (theirs, their_grads) = expected(*shape)
    ours, our_grads = pulled(lambda *x: group_attention(*x, mask, kernel=kernel), arrays, pull)
    assert all(np.isfinite(t).all() for t in (*ours, *our_grads))
    np.testing.assert_allclose(ours[0][mask], theirs[0][mask], atol=2e-5)
    np.testing.assert_allclose(ours[1], theirs[1], atol=2e-5)
    for a, b in zip(our_grads, their_grads, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("left", [True, False])
def test_causal_is_each_sequence_alone(kernel, left):
    """The prompts of `expected`, without the answers that pull on them too."""
    arrays, mask, pull = case((30, 140, 1), 4, 2, 1, 1, left)
    theirs, their_grads = pulled(lambda *x: each_alone(*x, *arrays[3:], mask)[:1], arrays[:3], pull[:1])
    ours, our_grads = pulled(lambda *x: (causal_attention(*x, mask, kernel),), arrays[:3], pull[:1])
    assert all(np.isfinite(t).all() for t in (*ours, *our_grads))
    np.testing.assert_allclose(ours[0][mask], theirs[0][mask], atol=2e-5)
    for a, b in zip(our_grads, their_grads, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


@pytest.mark.parametrize("kernel", KERNELS)
def test_half_precision_keeps_its_type(kernel):
    arrays, mask, _, (exact, _) = expected((3, 9), 4, 2, 3, 5)
    ours = jax.jit(lambda *x: group_attention(*x, mask, kernel=kernel))(*(x.astype(jnp.bfloat16) for x in arrays))
    for a, b, valid in zip(ours, exact, (mask, slice(None)), strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a[valid].astype(np.float32), b[valid], atol=0.03)


@pytest.mark.parametrize("kernel", KERNELS[1:])
def test_a_prompt_without_tokens_harms_nobody(kernel):
    arrays, mask, pull, (theirs, their_grads) = expected((3, 9), 4, 2, 3, 5)
    mask, pull = (
        mask & np.array([[True], [False]]),
        [x * np.repeat([True, False], len(x) // 2)[:, None, None, None] for x in pull],
    )
    ours, our_grads = pulled(lambda *x: group_attention(*x, mask, kernel=kernel), arrays, pull)
    assert all(np.isfinite(t).all() for t in (*ours, *our_grads))
    np.testing.assert_allclose(ours[1][:3], theirs[1][:3], atol=2e-5)
    for a, b in zip(our_grads, their_grads, strict=True):
        half = len(a) // 2
        assert (np.asarray(a[half:]) == 0).all()
        np.testing.assert_allclose(a[:half], b[:half], atol=2e-5 * np.abs(b).max())


# a row of answers of 3, 2 and 4 tokens; one of 5 tokens and padding
SEGMENTS = np.array([[[0, 0, 0, 1, 1, 2, 2, 2, 2], [3, 3, 3, 3, 3, -1, -1, -1, -1]]] * 2, np.int32)


def test_packed_answers_are_each_alone():
    """Token by token: the prompt's valid ones, then those of its own answer up to itself."""
    arrays, mask, _ = case((6, 4), 4, 2, 2, 9)
    prompts, rows = jax.jit(group_attention)(*arrays, mask, SEGMENTS)
    _, pk, pv, aq, ak, av = arrays
    for row, slot in np.ndindex(4, 9):
        answer = SEGMENTS.reshape(4, 9)[row]
        seen, valid = np.flatnonzero(answer[: slot + 1] == answer[slot]), mask[row // 2]
        k, v = (np.concatenate([x[row // 2, valid], y[row, seen]]).repeat(2, axis=1) for x, y in ((pk, ak), (pv, av)))
        weights = np.exp(np.einsum("hd,thd->ht", aq[row, slot], k) / np.sqrt(8))
        alone = np.einsum("ht,thd->hd", weights, v) / weights.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(rows[row, slot], alone, atol=2e-5)
    np.testing.assert_array_equal(prompts, jax.jit(group_attention)(*arrays, mask)[0])


@pytest.mark.parametrize(
    "backend,dtype,head_dim,length,kernel",
    [
        ("cpu", jnp.float32, 128, 4096, "plain"),
        ("cpu", jnp.bfloat16, 128, 4096, "plain"),
        ("tpu", jnp.bfloat16, 128, 4096, "splash"),
        ("tpu", jnp.float32, 256, 128, "splash"),
        ("tpu", "bfloat16", 128, 127, "plain"),
        ("tpu", jnp.bfloat16, 64, 4096, "plain"),
        ("tpu", jnp.float16, 128, 4096, "plain"),
        ("gpu", jnp.bfloat16, 128, 4096, "cudnn"),
        ("gpu", jnp.float16, 24, 256, "cudnn"),
        ("gpu", jnp.bfloat16, 128, 255, "plain"),
        ("gpu", jnp.bfloat16, 136, 4096, "plain"),
        ("gpu", jnp.bfloat16, 20, 4096, "plain"),
        ("gpu", jnp.float32, 128, 4096, "plain"),
    ],
)
def test_kernel_of_each_place(backend, dtype, head_dim, length, kernel):
    assert choose_kernel(backend, dtype, head_dim, length) == kernel


def test_the_place_is_asked_where_no_kernel_is_named(monkeypatch):
    arrays, mask, _ = case((5,), 2, 1, 2, 4)
    asked = []
    monkeypatch.setattr(attention, "choose_kernel", lambda *place: asked.append(place) or "plain")
    jax.eval_shape(group_attention, *arrays, mask)
    jax.eval_shape(causal_attention, *arrays[:3], mask)
    jax.eval_shape(group_attention, *arrays, mask, np.zeros((1, 2, 4), np.int32))  # segments: plain, wherever
    jax.eval_shape(functools.partial(group_attention, kernel="plain"), *arrays, mask)
    assert asked == [(jax.default_backend(), np.float32, 8, 10), (jax.default_backend(), np.float32, 8, 6)]


def test_kernels_that_cannot_be():
    arrays, mask, _ = case((5,), 2, 1, 2, 4)
    with pytest.raises(ValueError, match="unknown attention kernel 'flash'"):
        causal_attention(*arrays[:3], mask, "flash")
    for kernel in KERNELS[1:]:
        with pytest.raises(ValueError, match=f"'{kernel}' takes no segments"):
            group_attention(*arrays, mask, np.zeros((1, 2, 4), np.int32), kernel)
    with pytest.raises(ValueError, match="too many"):
        attention_kernels.TreeMask(1 << 20, 1 << 10, 1 << 19)


def test_splash_skips_what_answers_cannot_see(monkeypatch):
    """Four answers of a block each behind a prompt of a block: no block of one answer with another is computed."""
    made = []
    monkeypatch.setattr(attention, "BLOCK", 64)  # so that longer prompts take several
    maker = attention_kernels.splash.make_splash_mha_single_device
    monkeypatch.setattr(
        attention_kernels.splash,
        "make_splash_mha_single_device",
        lambda *args, **kw: made.append(maker(*args, **kw)) or made[-1],
    )
    arrays, mask, _ = case((511,), 1, 1, 4, 512)
    jax.eval_shape(lambda *x: group_attention(*x, mask, kernel="splash"), *arrays)
    blocks = attention_kernels.splash_mask.MultiHeadMask([attention_kernels.TreeMask(5 * 512, 512, 512)])
    info, _ = attention_kernels.splash.mask_info_lib.process_mask(blocks, (512, 512))
    assert info.partial_mask_blocks is None and info.block_mask.shape == (1, 5, 2)  # 9 of the 15 that causal would do
    assert made[0].fwd_mask_info.block_mask.shape == info.block_mask.shape
    assert np.count_nonzero(info.block_mask) == 9


@pytest.mark.parametrize(
    "kernel,platform,call,count",
    [
        ("splash", "tpu", "tpu_custom_call", 3),  # forward, queries' gradients, keys' and values' gradients
        ("cudnn", "cuda", "__cudnn$fmha", 4),  # prompts and answers, forward and backward
    ],
)
def test_kernels_lower_for_their_place_from_here(monkeypatch, kernel, platform, call, count):
    """Odd lengths, on which JAX's checks of what cuDNN takes would fail."""
    monkeypatch.undo()
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    arrays, mask, pull = case((198, 120), 4, 2, 2, 51, d=128, dtype=jnp.bfloat16)

    def run(*arrays):
        out, back = jax.vjp(lambda *x: group_attention(*x, mask, kernel=kernel), *arrays)
        return out, back(tuple(pull))

    program = jax.jit(run).trace(*arrays).lower(lowering_platforms=(platform,)).as_text()
    assert program.count(f"custom_call @{call}") == count


CONFIG = ThinkerConfig(
    text=TextConfig(
        vocab_size=8,
        hidden_size=32,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        mrope_section=(1, 1, 2),
        rope_theta=100.0,
    ),
    audio=AudioConfig(
        num_mel_bins=4,
        d_model=8,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=8,
        n_window=4,
        output_dim=32,
    ),
    vision=VisionConfig(
        depth=1,
        hidden_size=8,
        intermediate_size=8,
        num_heads=2,
        patch_size=2,
        window_size=8,
        fullatt_block_indexes=(0,),
        out_hidden_size=32,
    ),
)


@pytest.fixture(scope="module")
def decoding():
    """A random decoder with an adapter, prompts padded on the left and rows of answers: params and arguments."""
    rng = np.random.default_rng(1)
    fresh = init_adapter(CONFIG, LoraOptions(2, 4.0, ("q_proj", "k_proj", "v_proj", "down_proj")), jax.random.key(0))
    adapter = jax.tree.map(lambda t: jnp.asarray(rng.standard_normal(t.shape, np.float32) * 0.3), fresh)
    n, p, rows, c = 2, 11, 2, 9
    x, answer = (rng.standard_normal((*s, 32)).astype(np.float32) for s in ((n, p), (n, rows, c)))
    mask = np.arange(p) >= np.array([[4], [0]])
    positions = np.broadcast_to(np.maximum(np.cumsum(mask, axis=1) - 1, 0), (3, n, p))
    after = np.broadcast_to(mask.sum(1)[:, None] + np.arange(c), (3, n, c))
    return init_params(CONFIG, jax.random.key(0))["text"], adapter, (x, positions, mask, answer, after)


def trained(decoding, arguments, pull, attention="auto", **options):
    """(valid prompt hidden, answer hidden, the adapter's gradients) of `forward_groups`."""
    params, adapter, _ = decoding
    config = dataclasses.replace(CONFIG.text, attention=attention)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(adapter):
        def loss(adapter):
            out = decoder.forward_groups(params, adapter, config, *arguments, **options)
            return sum(jnp.sum(a * b) for a, b in zip(out, pull, strict=True)), out

        return jax.value_and_grad(loss, has_aux=True)(adapter)

    (_, (prompt, answer)), grads = run(adapter)
    return prompt[arguments[2]], answer, jax.tree.leaves(grads)


def same(ours, theirs):
    np.testing.assert_allclose(ours[0], theirs[0], atol=5e-5)
    np.testing.assert_allclose(ours[1], theirs[1], atol=5e-5)
    for a, b in zip(ours[2], theirs[2], strict=True):
        assert np.abs(b).max() > 1e-2 and np.abs(a - b).max() < 5e-5 * np.abs(b).max()


def test_the_decoder_trains_alike_with_every_kernel(decoding):
    x, positions, mask, answer, after = arguments = decoding[2]
    rng = np.random.default_rng(2)
    pull = rng.standard_normal(x.shape) * mask[..., None], rng.standard_normal(answer.shape)
    plain = trained(decoding, arguments, pull)
    for kernel, remat in (("cudnn", "none"), ("splash", "full")):
        same(trained(decoding, arguments, pull, kernel, remat=remat), plain)


def test_the_decoder_reads_alike_with_every_kernel(decoding):
    params, adapter, (x, positions, mask, *_) = decoding

    def read(name):
        config = dataclasses.replace(CONFIG.text, attention=name)
        run = jax.jit(functools.partial(decoder.forward, config=config), compiler_options=QUICK)
        return run(params, adapter, x=x, positions=positions, mask=mask)[0][mask]

    cudnn, splash, plain = map(read, ("cudnn", "splash", "plain"))
    np.testing.assert_allclose(cudnn, plain, atol=5e-5)
    np.testing.assert_allclose(splash, plain, atol=5e-5)


def test_the_decoder_trains_alike_on_packed_rows(decoding):
    """Answers of 3, 2, 4 and 5 tokens in two rows, and each in a row of its own."""
    x, positions, mask, answer, after = decoding[2]
    rng = np.random.default_rng(2)
    packed = np.nonzero(SEGMENTS[0] >= 0)  # (rows, slots) of all tokens, and where they are when alone
    alone = tuple(np.array([(row, slot) for row, size in enumerate((3, 2, 4, 5)) for slot in range(size)]).T)
    separate = np.zeros((2, 4, 5, 32), np.float32)
    separate[:, *alone] = answer[:, *packed]
    slots = np.zeros((2, 9), int)
    slots[packed] = alone[1]
    pull_prompt, pull_separate = rng.standard_normal(x.shape) * mask[..., None], np.zeros(separate.shape)
    pull_separate[:, *alone] = rng.standard_normal((2, 14, 32))
    pull_packed = np.zeros(answer.shape)
    pull_packed[:, *packed] = pull_separate[:, *alone]
    ours = trained(
        decoding,
        (x, positions, mask, answer, after[..., :1, None] + slots),
        (pull_prompt, pull_packed),
        segments=SEGMENTS,
    )
    theirs = trained(decoding, (x, positions, mask, separate, after[..., :5]), (pull_prompt, pull_separate))
    same((ours[0], ours[1][:, *packed], ours[2]), (theirs[0], theirs[1][:, *alone], theirs[2]))
