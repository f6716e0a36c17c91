import jax
import numpy as np
import pytest

from emsa_jax import features
from emsa_jax.errors import InputError
from emsa_jax.features import training
from emsa_jax.features.feature_options import FeatureOptions
from emsa_jax.features.running import open_training

SMALL = ("hidden=4", "batch_size=8", "max_epochs=6", "learning_rate=3e-3")


class Killed(Exception):
    pass


@pytest.fixture
def opened(parts, write):
    options = FeatureOptions(network="misa", data=str(write(parts)), change=SMALL, seeds=(0, 4))
    return open_training(options)


def same(a, b):
    for seed in a:
        assert a[seed].log == b[seed].log and a[seed].best_epoch == b[seed].best_epoch
        for one, two in zip(jax.tree.leaves(a[seed].params), jax.tree.leaves(b[seed].params), strict=True):
            np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(a[seed].predictions["test"], b[seed].predictions["test"])


def test_a_training_that_was_killed_goes_on_to_the_bit(opened, tmp_path, monkeypatch):
    whole, at = opened.run((0, 4)), 3
    monkeypatch.setattr(training, "SECONDS_BETWEEN_SAVES", -1.0)  # after every epoch

    def kill(epoch, note):
        if epoch == at:
            raise Killed

    with pytest.raises(Killed):
        opened.run((0, 4), tmp_path / "state", kill)
    told = []
    again = opened.run((0, 4), tmp_path / "state", lambda epoch, note: told.append(epoch))
    assert told[0] == at and len(told) < len(whole[0].log) + at  # from the epoch that was not saved
    same(again, whole)
    finished = opened.run((0, 4), tmp_path / "state", kill)  # which trains no more
    same(finished, whole)


def test_the_state_of_another_training_is_not_gone_on_with(opened, parts, write, tmp_path):
    opened.run((0, 4), tmp_path / "state")
    for change in ({"change": (*SMALL, "sim=0.5")}, {"preset": "sound"}):
        fields = {"network": "misa", "data": str(write(parts)), "change": SMALL, "seeds": (0, 4)}
        other = open_training(FeatureOptions(**{**fields, **change}))
        with pytest.raises(InputError, match="another --workdir"):
            other.run((0, 4), tmp_path / "state")


def test_a_loss_that_is_not_finite_ends_in_one_line(parts, write):
    options = FeatureOptions(network="misa", data=str(write(parts)), change=(*SMALL, "learning_rate=1e30"), seeds=(1,))
    with pytest.raises(InputError, match="seed 1, epoch 1: the loss is not finite"):
        open_training(options).run((1,))


def test_one_call_gives_predictions(parts, write):
    change = (*SMALL, "max_epochs=2", "schedule=warmup_cosine")
    found = features.run("misa", write(parts), seeds=[2], change=change)
    assert found[2].predictions["test"].shape == (9,) and len(found[2].log) == 2
    assert found[2].log[0]["rate"] == 0  # of the warm-up


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"data": ""}, "config.data"),
        ({"seeds": ()}, "config.seeds"),
        ({"seeds": (1, 1)}, "none twice"),
        ({"network": "mag_bert", "change": ()}, "config.bert"),
        ({"change": (*SMALL, "accumulate=4")}, "an update needs 4 batches and an epoch has 3"),
        ({"bert_frozen": True}, "config.bert_frozen needs config.bert"),
        ({"data": "/nowhere.pkl"}, "/nowhere.pkl cannot be read"),
    ],
)
def test_options_that_cannot_be_are_named(parts, write, fields, words):
    given = {"network": "misa", "data": str(write(parts)), "change": SMALL} | fields
    with pytest.raises(InputError, match=words):
        open_training(FeatureOptions(**given)).run((0,))
