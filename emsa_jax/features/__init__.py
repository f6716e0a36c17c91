"""The feature-based track: five networks that learn sentiment from features of words, sound and face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emsa_jax.features.training import Trained


def run(network: str, data: str, seeds: Sequence[int] = (0, 1, 2, 3, 4), **options: Any) -> dict[int, Trained]:
    """Trains a network on a feature file: seed -> predictions, losses and parameters.

    options: fields of `FeatureOptions`, such as dataset="mosi". Raises: InputError naming the field or the file.
    """
    from emsa_jax.config.edge import from_config_dict
    from emsa_jax.features.feature_options import FeatureOptions
    from emsa_jax.features.running import open_training

    fields = {"network": network, "data": str(data), "seeds": tuple(seeds), **options}
    training = open_training(from_config_dict(FeatureOptions, fields))
    return {seed: trained for group in training.groups for seed, trained in training.run(group).items()}
