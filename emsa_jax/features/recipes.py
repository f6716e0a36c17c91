"""The settings of the public code for each network and data set: its options and how it is trained.

Sources: MMSA 2.2.1's config_regression (MulT, MISA, MAG-BERT), ALMT's and DLF's own configs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args, get_type_hints

from emsa_jax.errors import InputError
from emsa_jax.features.almt import ALMTOptions
from emsa_jax.features.dlf import DLFOptions
from emsa_jax.features.mag_bert import MAGOptions
from emsa_jax.features.misa import MISAOptions
from emsa_jax.features.mult import MulTOptions
from emsa_jax.features.networks import NetworkOptions
from emsa_jax.features.protocol import Protocol

SCALES = {"sims": 1.0, "simsv2": 1.0, "mosi": 3.0, "mosei": 3.0}  # scores lie in [-scale, scale]


@dataclass(frozen=True)
class Recipe:
    """`note`: what has to be said of it, "" if nothing has."""

    options: NetworkOptions
    protocol: Protocol
    note: str = ""


def _mult(
    width: int,
    heads: int,
    levels: int,
    kernels: tuple[int, int, int],
    attention: tuple[float, float, float],
    rates: tuple[float, ...],
    batch: int,
    rate: float,
    clip: float,
    patience: int,
) -> Recipe:
    names = ("relu", "embed", "residual", "text", "output")
    options = MulTOptions(width, heads, levels, kernels, attention, **dict(zip(names, rates, strict=True)))
    schedule = dict(schedule="plateau", patience=patience)
    return Recipe(options, Protocol(batch, rate, accumulate=8, clip_value=clip, **schedule))


def _misa(hidden: int, batch: int, rate: float, clip: float, diff: float, sim: float, recon: float) -> Recipe:
    return Recipe(MISAOptions(hidden, rate, diff, sim, recon), Protocol(batch, 1e-4, accumulate=2, clip_value=clip))


def _mag(learning_rate: float, rate: float) -> Recipe:
    return Recipe(MAGOptions(1.0, rate), Protocol(32, learning_rate))


def _almt(fusion_depth: int) -> Recipe:
    protocol = Protocol(64, 1e-4, weight_decay=1e-4, schedule="warmup_cosine", early_stop=32)
    return Recipe(ALMTOptions(fusion_depth=fusion_depth), protocol)


def _dlf(kernel: int, attention: tuple[float, float, float], embed: float, text: float, orthogonal: float) -> Recipe:
    options = DLFOptions(kernels=(kernel,) * 3, attention=attention, embed=embed, text=text, orthogonal=orthogonal)
    schedule = dict(schedule="plateau", factor=0.5, patience=5, early_stop=10)
    return Recipe(options, Protocol(16, 1e-4, accumulate=10, clip_value=0.6, **schedule))


RECIPES = {
    ("mult", "mosi"): _mult(50, 10, 4, (5, 5, 5), (0.3, 0.2, 0.0), (0.0, 0.2, 0.0, 0.5, 0.5), 16, 2e-3, 0.6, 5),
    ("mult", "mosei"): _mult(30, 6, 4, (5, 1, 3), (0.4, 0.0, 0.0), (0.0, 0.0, 0.0, 0.3, 0.5), 4, 5e-4, 0.6, 20),
    ("mult", "sims"): _mult(50, 10, 2, (5, 1, 1), (0.2, 0.1, 0.0), (0.0, 0.1, 0.2, 0.3, 0.1), 16, 2e-3, 0.6, 10),
    ("mult", "simsv2"): _mult(30, 6, 4, (5, 3, 1), (0.1, 0.2, 0.0), (0.1, 0.2, 0.0, 0.5, 0.3), 16, 5e-4, 1.0, 10),
    ("misa", "mosi"): _misa(128, 16, 0.2, 0.8, 0.1, 0.3, 1.0),
    ("misa", "mosei"): _misa(128, 64, 0.5, 0.8, 0.3, 0.8, 1.0),
    ("misa", "sims"): _misa(128, 64, 0.0, 1.0, 0.3, 1.0, 0.8),
    ("misa", "simsv2"): _misa(64, 16, 0.5, 0.8, 0.5, 1.0, 0.5),
    ("mag_bert", "mosi"): _mag(2e-5, 0.3),
    ("mag_bert", "mosei"): _mag(1e-5, 0.2),
    ("mag_bert", "sims"): _mag(5e-5, 0.1),
    ("almt", "mosi"): _almt(2),
    ("almt", "mosei"): _almt(4),
    ("almt", "sims"): _almt(4),
    ("dlf", "mosi"): _dlf(5, (0.3, 0.2, 0.0), 0.2, 0.5, 0),
    ("dlf", "mosei"): _dlf(3, (0.5, 0.0, 0.0), 0.0, 0.1, 10),
}
NEAREST = {"simsv2": "sims", "sims": "mosi"}  # whose settings stand in where the public code has none


def recipe_of(network: str, dataset: str, preset: str, changes: Sequence[str] = ()) -> Recipe:
    """The settings of a network for a data set.

    Args:
      preset: mmsa, as the public code trains, or sound, see `sound`.
      changes: NAME=VALUE each, of a field of `Protocol` or of the network's options; tuples as 5,1,1.

    Raises: InputError naming a field that is not there, or a value that it cannot have.
    """
    note, source = "", dataset
    while (network, source) not in RECIPES:
        source = NEAREST[source]
        note = f"the public code of {network} has no settings for {dataset}; those for {source} are taken"
    recipe = RECIPES[network, source]
    protocol = sound(recipe.protocol) if preset == "sound" else recipe.protocol
    options = recipe.options
    for change in changes:
        name, equals, text = change.partition("=")
        owner = next((o for o in (protocol, options) if name in {f.name for f in fields(o)}), None)
        if not equals or owner is None:
            known = ", ".join(f.name for o in (protocol, options) for f in fields(o))
            raise InputError(f"config.change: {change!r} is no NAME=VALUE with a NAME of {known}")
        value = _read(text, get_type_hints(type(owner))[name], name)
        if owner is protocol:
            protocol = replace(protocol, **{name: value})
        else:
            options = replace(options, **{name: value})
    return Recipe(options, protocol, note)


def sound(protocol: Protocol) -> Protocol:
    """What one would do today with the same rate and batches: every batch counts, an update is of the mean, its norm is
    clipped, matrices decay, losses are compared as they are."""
    return replace(
        protocol,
        weight_decay=protocol.weight_decay or 1e-2,
        decay="matrices",
        average=True,
        leftover="use",
        clip_value=0.0,
        clip_norm=1.0,
        loss_decimals=0,
    )


def _read(text: str, kind: Any, name: str) -> Any:
    parts = text.strip("()[] ").split(",")
    try:
        if kind in (int, float):
            return kind(text)
        if kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if get_args(kind) and isinstance(get_args(kind)[0], str):
            if text in get_args(kind):
                return text
        elif get_args(kind) and len(parts) == len(get_args(kind)):
            return tuple(one(part) for one, part in zip(get_args(kind), parts, strict=True))
    except ValueError:
        pass
    wanted = getattr(kind, "__name__", "") if isinstance(kind, type) else str(kind).replace("typing.", "")
    raise InputError(f"config.change: {name}={text!r} is no {wanted}")
