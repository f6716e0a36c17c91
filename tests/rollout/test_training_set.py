"""Training on several sets of records at once."""

from dataclasses import replace

import numpy as np
import pytest

from emsa_jax.data.batch_order import parts_at
from emsa_jax.data.data_options import MODALITIES, MixOptions, PrepareOptions
from emsa_jax.data.pipeline import batches
from emsa_jax.data.prepare import prepare
from emsa_jax.errors import InputError
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.rollout.prompted_data import modality_dropout
from emsa_jax.rollout.training_set import open_train
from emsa_jax.settings.config import Config


def records(folder, name, size, score_range, language):
    rows = [f"{name}{i},{name} says {i},{score_range[1] if i % 2 else score_range[0] / 2},train,," for i in range(size)]
    source = folder / f"{name}.csv"
    source.write_text("\n".join(["id,text,label,mode,video,audio", *rows]) + "\n")
    prepare(source, folder / name, PrepareOptions(workers=1), score_range, language)
    return folder / name


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(checkpoint, a set of 8 in [-1, 1], a set of 24 in [-3, 3])."""
    folder = tmp_path_factory.mktemp("mixture")
    make_tiny(folder / "policy", ["sims says", "mosi says"], 0, vocab_size=320)
    return (
        open_checkpoint(folder / "policy", weights=False),
        records(folder, "sims", 8, (-1.0, 1.0), "zh"),
        records(folder, "mosi", 24, (-3.0, 3.0), "en"),
    )


def config(world, **mix):
    return Config(policy=str(world[0].directory), data=str(world[1]), mix=MixOptions((str(world[2]),), **mix))


def test_scores_are_carried_into_the_first_sets_range(world):
    train = open_train(config(world), world[1], world[0])
    assert len(train) == 32 and train.prompter.format.score_range == (-1.0, 1.0)
    for i, entry in enumerate(train.entries):
        assert train[i].id == entry.id and train[i].score == entry.score
        assert entry.score in (1.0, -0.5) and entry.language == ("zh" if entry.id.startswith("sims") else "en")
        assert train.lengths[i] == len(train.prompter.row(train[i]).tokens)


@pytest.mark.parametrize(("weights", "share"), [((), 8 / 32), ((1.0, 1.0), 1 / 2), ((3.0, 1.0), 3 / 4)])
def test_shares_follow_the_weights(world, weights, share):
    train = open_train(config(world, weights=weights), world[1], world[0])
    plan = train.plan(4, seed=0, drop_remainder=True)
    steps = 10 * plan.batches_per_epoch
    first = sum((parts_at(plan, step) == 0).sum() for step in range(steps))
    assert first == pytest.approx(4 * steps * share, abs=1)
    step, clips = next(iter(batches(train, plan, 3, 4)))
    assert [clip.id.startswith("mosi") for clip in clips] == parts_at(plan, step).astype(bool).tolist()


def test_the_plan_knows_the_data_of_all_parts(world, tmp_path):
    plan = open_train(config(world), world[1], world[0]).plan(4, 0, True)
    other = records(tmp_path, "mosi", 24, (-3.0, 3.5), "en")
    changed = replace(config(world), mix=MixOptions((str(other),)))
    assert open_train(changed, world[1], world[0]).plan(4, 0, True).hash != plan.hash


def test_a_clip_that_two_sets_share_is_refused(world):
    twice = replace(config(world), mix=MixOptions((str(world[1]),)))
    with pytest.raises(InputError, match="clip 'sims0' and 7 more are in two of the sets"):
        open_train(twice, world[1], world[0])


def test_options_that_cannot_be(world):
    with pytest.raises(InputError, match="1 weights for 2 sets"):
        config(world, weights=(1.0,))
    with pytest.raises(InputError, match="cannot be balanced too"):
        replace(config(world), balance=True)


def test_modalities_are_left_out_at_random_while_learning(world):
    both = replace(config(world), modality_dropout={"text": 1.0})
    assert modality_dropout(config(world).modality_dropout, 0, MODALITIES) is None
    train, drop = open_train(both, world[1], world[0]), modality_dropout(both.modality_dropout, both.seed, MODALITIES)
    _, clips = next(iter(batches(train, train.plan(4, 0, True), 0, 1, view=drop)))
    assert all(clip.text for clip in clips)  # a clip of words alone keeps them
    clip = drop(replace(train[0], mel=np.zeros((50, 128), np.float32)), 0, 0)
    assert clip.text == "" and len(clip.mel) == 50
