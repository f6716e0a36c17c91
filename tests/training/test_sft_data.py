import numpy as np

from emsa_jax.data.batch_order import Plan, batch_at
from emsa_jax.training.sft_data import padded, update_sizes

LENGTHS, BATCH = np.array([20, 30, 60, 70] * 16), 4


def sizes_of(answers: list[int], total: int = 24):
    """(plan, table of answers of these lengths, what its batches are filled up to)."""
    plan, table = Plan(LENGTHS, (32, 80), BATCH, seed=3), padded([range(n) for n in answers])
    return plan, table, update_sizes(plan, total, table)


def test_each_batch_has_room_for_its_answers_and_little_more():
    """Most answers are short and a few are long: only the batches that hold a long one take its slots."""
    plan, table, sizes = sizes_of([180 if i % 32 == 5 else 12 for i in range(len(LENGTHS))])
    assert table.shape[1] == 184 and {slots for _, slots in sizes} == {16, 184}
    for step, (prompt, slots) in enumerate(sizes):
        clips = batch_at(plan, step)
        longest = (table[clips] >= 0).sum(1).max()
        assert longest <= slots and prompt == (32 if LENGTHS[clips].max() <= 32 else 80)
        assert (slots == 184) == (longest == 180)


def test_answers_that_differ_little_share_one_size():
    """Another size is another program to compile: it has to save much."""
    _, table, sizes = sizes_of([30 + i % 5 for i in range(len(LENGTHS))])
    assert {slots for _, slots in sizes} == {table.shape[1]} == {40}


def test_long_answers_never_take_more_slots_than_the_table_has():
    _, table, sizes = sizes_of([300] * len(LENGTHS))
    assert {slots for _, slots in sizes} == {table.shape[1]} == {304}
