import pytest

from emsa_jax.errors import InputError
from emsa_jax.features.protocol import warmup_cosine
from emsa_jax.features.recipes import RECIPES, recipe_of


def test_every_network_and_data_set_has_settings_and_says_whose():
    for network in ("mult", "mag_bert", "misa", "almt", "dlf"):
        for dataset in ("sims", "simsv2", "mosi", "mosei"):
            recipe = recipe_of(network, dataset, "mmsa")
            assert bool(recipe.note) == ((network, dataset) not in RECIPES)
    assert "those for mosi are taken" in recipe_of("dlf", "simsv2", "mmsa").note


def test_a_change_is_read_by_the_type_of_its_field():
    changes = ("learning_rate=1e-3", "accumulate=2", "kernels=(3,3,3)", "schedule=constant", "average=true", "width=20")
    recipe = recipe_of("mult", "sims", "mmsa", changes)
    protocol, options = recipe.protocol, recipe.options
    assert (protocol.learning_rate, protocol.accumulate, protocol.schedule, protocol.average) == (
        1e-3,
        2,
        "constant",
        True,
    )
    assert (options.kernels, options.width) == ((3, 3, 3), 20)
    plain = recipe_of("mult", "sims", "mmsa")
    assert plain.protocol.accumulate == 8 and plain.options.heads == options.heads


@pytest.mark.parametrize(
    "change, words",
    [
        ("rate=1", "no NAME=VALUE with a NAME of batch_size, learning_rate"),
        ("width", "no NAME=VALUE"),
        ("accumulate=two", "accumulate='two' is no int"),
        ("kernels=3,3", "kernels='3,3'"),
        ("schedule=cosine", "schedule='cosine'"),
        ("learning_rate=-1", "learning_rate"),
    ],
)
def test_a_change_that_cannot_be_is_named(change, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        recipe_of("mult", "sims", "mmsa", (change,))


def test_the_sound_preset_loses_no_batch():
    protocol = recipe_of("mult", "sims", "sound").protocol
    assert (protocol.leftover, protocol.average, protocol.decay, protocol.clip_value) == ("use", True, "matrices", 0)
    assert protocol.clip_norm == 1 and protocol.loss_decimals == 0 and protocol.weight_decay > 0


def test_almts_rates_warm_up_from_0_and_fall_to_0():
    rates = [warmup_cosine(epoch, 20) for epoch in range(1, 23)]
    assert rates[:4] == [0, 0.5, 1, 1] and rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(0)
