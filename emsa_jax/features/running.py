"""A network trained on a feature file, from the file to predictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emsa_jax.config.edge import to_dict
from emsa_jax.errors import InputError
from emsa_jax.features.feature_options import FeatureOptions
from emsa_jax.features.feature_set import FeatureSet, read_feature_set, with_states
from emsa_jax.features.networks import Network
from emsa_jax.features.recipes import SCALES, Recipe, recipe_of
from emsa_jax.features.training import Place, Trained, train
from emsa_jax.manifest import sha256_file
from emsa_jax.policy.parts import read_bert


@dataclass(frozen=True, eq=False)
class Training:
    """A training before it begins: all its inputs are read and checked.

    Attributes:
      groups: seeds that are trained in one program. A BERT that is trained is copied for each seed, with the
        optimizer's memory: then each is trained alone.
      fingerprint: of all that its numbers depend on, the seeds apart.
    """

    network: Network
    recipe: Recipe
    data: FeatureSet
    bert: dict | None
    groups: tuple[tuple[int, ...], ...]
    fingerprint: str

    @property
    def notes(self) -> list[str]:
        """What a user has to be told before it begins."""
        notes = [self.recipe.note] if self.recipe.note else []
        if len(self.groups) > 1:
            notes.append(f"BERT is trained with the network, so that the {len(self.groups)} seeds go one after another")
        return [*notes, *self.data.notes]

    def run(
        self, seeds: Sequence[int], directory: Path | None = None, tell: Callable[[int, str], None] = lambda *_: None
    ) -> dict[int, Trained]:
        """Trains one of `groups`. directory: keeps the state, so that the same call goes on where it was."""
        place = Place(directory, f"{self.fingerprint} {list(seeds)}") if directory else None
        return train(self.network, self.recipe.protocol, self.data.batches, seeds, self.bert, place, tell)


def open_training(options: FeatureOptions) -> Training:
    """Reads and checks all that a training needs. Raises: InputError naming the field, or the file and what is wrong
    with it."""
    if not options.data:
        raise InputError("config.data: name a feature file, such as unaligned_39.pkl")
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise InputError('config.seeds: name at least one seed, and none twice, such as "(0,1,2)"')
    recipe = recipe_of(options.network, options.dataset, options.preset, options.change)
    bert = config = None
    if options.bert:
        config, bert = read_bert(options.bert, np.float32)
    data = read_feature_set(options.data, SCALES[options.dataset], options.align, config)
    if options.bert_frozen:
        if config is None or options.network == "mag_bert":
            raise InputError("config.bert_frozen needs config.bert, and a network that reads its last states alone")
        data = FeatureSet(with_states(data.batches, bert, config, 32), data.parts, data.notes)
        bert = config = None
    network = Network(options.network, recipe.options, config)
    seeds = tuple(options.seeds)
    inputs = {
        "network": options.network,
        "options": to_dict(recipe.options),
        "protocol": to_dict(recipe.protocol),
        "data": sha256_file(Path(options.data)),
        "bert": str(Path(options.bert).absolute()) if options.bert else "",
        "frozen": options.bert_frozen,
        "align": options.align,
    }
    fingerprint = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    groups = tuple((seed,) for seed in seeds) if bert else (seeds,)
    return Training(network, recipe, data, {"bert": bert} if bert else None, groups, fingerprint)
