import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emsa_jax.learning.packing import pack_rows


@settings(deadline=None, max_examples=50)
@given(
    # few shapes, since each is compiled, and many lengths
    st.sampled_from((1, 2, 5, 9)),
    st.sampled_from((1, 3, 12)),
    st.sampled_from((1, 4)),
    st.randoms(use_true_random=False),
)
def test_every_answer_is_there_once_and_comes_back(answers, slots, prompts, random):
    lengths = np.array([[random.randint(0, slots) for _ in range(answers)] for _ in range(prompts)])
    packing = pack_rows(lengths, slots, tuple(range(1, answers + 1)))
    tokens = np.arange(prompts * answers * slots).reshape(prompts, answers, slots)
    rows = np.asarray(packing.pack(tokens))
    valid = np.arange(slots) < np.maximum(lengths, 1)[..., None]
    assert (np.asarray(packing.unpack(rows))[valid] == tokens[valid]).all()
    used = packing.source >= 0
    assert used.sum() == valid.sum() and len(np.unique(rows[used])) == valid.sum()
    answer, slot = rows // slots % answers, rows % slots
    segment = np.asarray(packing.segment)
    assert (segment[used] == answer[used]).all() and (segment[~used] == -1).all()
    assert (np.asarray(packing.slot)[used] == slot[used]).all()
    same = used[..., 1:] & used[..., :-1] & (answer[..., 1:] == answer[..., :-1])
    assert (slot[..., 1:][same] == slot[..., :-1][same] + 1).all()  # in order, in one piece
    assert (slot[..., 0][used[..., 0]] == 0).all()
    needed = -(-np.maximum(lengths, 1).sum(1).max() // slots)
    assert needed <= rows.shape[1] <= answers


def test_as_few_rows_as_a_compiled_size_allows():
    lengths = np.array([[6, 5, 4, 3, 2, 1], [1, 1, 1, 1, 1, 1]])
    assert pack_rows(lengths, 7, (1, 2, 3, 4, 5, 6)).source.shape == (2, 3, 7)  # 6 1, 5 2, 4 3
    assert pack_rows(lengths, 7, (2, 5, 6)).source.shape == (2, 5, 7)
    assert pack_rows(lengths[1:], 7, (2, 5, 6)).source.shape == (1, 2, 7)
    assert pack_rows(np.full((1, 4), 7), 7, (2, 4)).source.shape == (1, 4, 7)


def test_one_more_answer_has_a_row_for_itself():
    packing = pack_rows(np.array([[3, 2, 4]]), 5, (2, 3)).with_one_more()
    tokens = np.arange(20).reshape(1, 4, 5)
    rows = np.asarray(packing.pack(tokens))
    assert rows.shape == (1, 3, 5) and (rows[0, 2] == tokens[0, 3]).all()
    assert (np.asarray(packing.unpack(rows))[0, 3] == tokens[0, 3]).all()
    assert np.asarray(packing.segment)[0].tolist() == [[2, 2, 2, 2, -1], [0, 0, 0, 1, 1], [3, 3, 3, 3, 3]]
