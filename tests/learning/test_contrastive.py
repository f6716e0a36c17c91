"""The losses of bridges against torch's, and what retrieval counts."""

import jax
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from emsa_jax.learning.contrastive import cosines, info_nce, masked_frame_loss, order_loss, retrieval

RNG = np.random.default_rng(0)
A, B = (RNG.standard_normal((5, 7), np.float32) for _ in range(2))


def test_pairs_as_torch_has_them():
    a, b, t = (torch.tensor(x, requires_grad=True) for x in (A, B, np.float32(0.2)))
    loss = F.cross_entropy(F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / t, torch.arange(5))
    loss.backward()
    ours, grads = jax.value_and_grad(info_nce, argnums=(0, 1, 2))(A, B, np.float32(0.2))
    assert float(ours) == pytest.approx(loss.item(), rel=1e-6)
    for mine, theirs in zip(grads, (a, b, t), strict=True):
        np.testing.assert_allclose(mine, theirs.grad, rtol=1e-4, atol=1e-6)


def test_order_as_torch_has_it():
    ordered, shuffled = A[:, 0], B[:, 0]
    wanted = F.binary_cross_entropy_with_logits(
        torch.tensor(np.r_[ordered, shuffled]), torch.tensor([1.0] * 5 + [0.0] * 5)
    )
    assert float(order_loss(ordered, shuffled)) == pytest.approx(float(wanted), rel=1e-6)
    assert float(order_loss(np.zeros(3), np.zeros(3))) == pytest.approx(np.log(2))


def test_only_masked_frames_count_and_a_sum_is_taken():
    frames, found = np.zeros((2, 3, 4)), np.ones((2, 3, 4))
    masked = np.array([[True, False, True], [False, False, False]])
    assert float(masked_frame_loss(found, frames, masked)) == 4.0  # 2 frames of 4 values, over 2 clips
    assert float(masked_frame_loss(np.where(masked[..., None], frames, np.nan), frames, masked)) == 0.0


def test_retrieval_counts_ties_against_the_own_place():
    scores = np.array([[3.0, 1, 2], [3, 2, 1], [0, 5, 5]])
    assert [float(share) for share in retrieval(scores, (1, 2))] == pytest.approx([1 / 3, 1.0])
    assert float(retrieval(np.ones((4, 4)), (1,))[0]) == 0.0
    np.testing.assert_allclose(np.diag(cosines(A, A * 3)), 1, atol=1e-6)
