import jax
import jax.numpy as jnp
import numpy as np
import torch

from emsa_jax.features.misa import ORDER, BiLSTM, FusionLayer, MISAOptions, misa_loss, safe_norm

RNG = np.random.default_rng(0)
OPTIONS = MISAOptions(6, 0.0, 0.1, 0.3, 1.0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def tree(module):
    return {name: jnp.asarray(value.detach().numpy()) for name, value in module.named_parameters()}


def test_an_lstm_reads_as_far_as_the_text_is_long():
    theirs = torch.nn.LSTM(5, 4, bidirectional=True, batch_first=True)
    x, lengths = normal(4, 7, 5), np.array([7, 5, 1, 4])
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(x), torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    states, (final, _) = theirs(packed)
    states = torch.nn.utils.rnn.pad_packed_sequence(states, batch_first=True)[0].detach().numpy()
    ours, forward, backward = BiLSTM(4).apply({"params": tree(theirs)}, x, jnp.asarray(lengths))
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(ours[row, :length], states[row, :length], atol=2e-6)
    np.testing.assert_allclose(np.stack([forward, backward]), final.detach().numpy(), atol=2e-6)


def test_the_fusion_is_a_layer_of_torchs_encoder():
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 2048, 0.1, batch_first=True).eval()
    flat, params = tree(theirs), {}
    for name, value in flat.items():
        parts = name.split(".")
        node = params
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = value
    x = normal(3, 6, 8)
    expected = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(FusionLayer().apply({"params": params}, x, False), expected, atol=5e-6)
    rngs = {"dropout": jax.random.key(0)}
    assert np.abs(FusionLayer().apply({"params": params}, x, True, rngs=rngs) - expected).max() > 1e-2


def outputs(rows):
    names = [f"utt_{m}_{end}" for m in ORDER for end in ("orig", "recon")]
    names += [f"utt_{kind}_{m}" for m in ORDER for kind in ("private", "shared")]
    return {name: normal(rows, 6) for name in names} | {"M": normal(rows, 1)}


def torch_loss(found, labels):
    t = {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}

    def overlap(a, b):
        a, b = ((x - x.mean(0)) for x in (a, b))
        a, b = (x / (x.norm(dim=1, keepdim=True) + 1e-6) for x in (a, b))
        return (a.T @ b).pow(2).mean()

    def cmd(a, b):
        centred = [x - x.mean(0) for x in (a, b)]
        gaps = [a.mean(0) - b.mean(0)] + [centred[0].pow(k).mean(0) - centred[1].pow(k).mean(0) for k in (2, 3, 4, 5)]
        return sum(gap.norm() for gap in gaps)

    p, s = ({m: t[f"utt_{kind}_{m}"] for m in "tva"} for kind in ("private", "shared"))
    diff = sum(overlap(p[m], s[m]) for m in "tva")
    diff = diff + overlap(p["a"], p["t"]) + overlap(p["a"], p["v"]) + overlap(p["t"], p["v"])
    sim = (cmd(s["t"], s["v"]) + cmd(s["t"], s["a"]) + cmd(s["a"], s["v"])) / 3
    mse = torch.nn.functional.mse_loss
    recon = sum(mse(t[f"utt_{m}_recon"], t[f"utt_{m}_orig"]) for m in "tva") / 3
    return mse(t["M"], torch.tensor(labels, dtype=torch.float64)) + 0.1 * diff + 0.3 * sim + recon


def test_the_loss_is_that_of_the_paper_and_fill_rows_do_not_count():
    found, labels = outputs(5), normal(5, 1)
    expected = float(torch_loss(found, labels))
    loss = misa_loss(found, labels, np.ones(5, np.float32), OPTIONS)["total"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    filled = {name: np.concatenate([value, 9 + normal(3, *value.shape[1:])]) for name, value in found.items()}
    weight = np.array([1] * 5 + [0] * 3, np.float32)
    loss = misa_loss(filled, np.concatenate([labels, labels[:3]]), weight, OPTIONS)["total"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_batch_of_one_has_finite_gradients():
    found, labels = outputs(1), normal(1, 1)
    grads = jax.grad(lambda o: misa_loss(o, labels, np.ones(1, np.float32), OPTIONS)["total"])(found)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_a_norm_of_zero_has_a_gradient_of_zero():
    assert (jax.grad(lambda x: safe_norm(x))(jnp.zeros(3)) == 0).all()
    np.testing.assert_allclose(safe_norm(jnp.array([[3.0, 4.0], [0.0, 0.0]])), [5.0, 0.0])
