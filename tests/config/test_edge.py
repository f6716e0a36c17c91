import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Literal

import ml_collections
import pytest
from absl import flags
from ml_collections import config_flags

from emsa_jax.config.edge import digest, from_config_dict, to_config_dict, to_dict
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class Hint:
    replace: Literal["all"] | int = "all"
    threshold: Literal["auto"] | float = "auto"
    temperature: float | None = None
    buckets: tuple[int, ...] = (1, 2)

    def __post_init__(self):
        if self.replace == 0:
            raise InputError("replace must not be 0")


@dataclass(frozen=True)
class Options:
    name: str
    beta: float = 0.04
    high: float | None = 0.28
    steps: int = 10
    early: bool = False
    kind: Literal["grpo", "dapo"] = "grpo"
    adapter: str | None = None
    score_range: tuple[float, float] = (-1.0, 1.0)
    weights: dict[str, float] = field(default_factory=lambda: {"format": 1.0})
    hint: Hint = Hint()


OPTIONS = Options("x")


def override(*arguments):
    """What a run sees after `--config.FIELD=VALUE` flags."""
    values = flags.FlagValues()
    argv = ["program", *(f"--config.{argument}" for argument in arguments)]
    config_flags.DEFINE_config_dict("config", to_config_dict(OPTIONS), flag_values=values, sys_argv=argv)
    values(argv)
    return from_config_dict(Options, values.config)


def test_round_trip():
    config = to_config_dict(OPTIONS)
    assert isinstance(config, ml_collections.ConfigDict)
    assert from_config_dict(Options, config) == OPTIONS
    assert from_config_dict(Options, json.loads(json.dumps(to_dict(OPTIONS)))) == OPTIONS
    other = Options("y", 1.0, None, 3, True, "dapo", "dir", (-3.0, 3.0), {}, Hint(2, 0.5, 1.1, ()))
    assert from_config_dict(Options, to_config_dict(other)) == other


@pytest.mark.parametrize(
    "argument, value",
    [
        ("beta=0.1", {"beta": 0.1}),
        ("beta=1", {"beta": 1.0}),
        ("high=none", {"high": None}),
        ("high=1", {"high": 1.0}),
        ("steps=3", {"steps": 3}),
        ("early=true", {"early": True}),
        ("early", {"early": True}),
        ("kind=dapo", {"kind": "dapo"}),
        ("adapter=12", {"adapter": "12"}),
        ("score_range=(-3, 3)", {"score_range": (-3.0, 3.0)}),
        ("weights.format=2", {"weights": {"format": 2.0}}),
    ],
)
def test_overrides(argument, value):
    assert override(argument) == dataclasses.replace(OPTIONS, **value)


@pytest.mark.parametrize(
    "argument, value",
    [
        ("replace=2", {"replace": 2}),
        ("threshold=2", {"threshold": 2.0}),
        ("temperature=0.9", {"temperature": 0.9}),
        ("buckets=(4,)", {"buckets": (4,)}),
        ("buckets=4", {"buckets": (4,)}),
    ],
)
def test_nested_overrides(argument, value):
    assert override(f"hint.{argument}").hint == dataclasses.replace(OPTIONS.hint, **value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"bta": 1.0}, r"config\.bta is not a known field; did you mean config\.beta\?"),
        ({"qqq": 1.0}, r"config\.qqq is not a known field; known fields: name, beta"),
        ({"hint": {"tresh": 1}}, r"config\.hint\.tresh is not .* mean config\.hint\.threshold\?"),
        ({"hint": 3}, r"config\.hint must be a group of fields, not 3 \(int\)"),
        ({"beta": "0.1"}, r"config\.beta must be a finite number, not '0\.1' \(str\)"),
        ({"beta": True}, r"config\.beta must be a finite number"),
        ({"beta": float("nan")}, r"config\.beta must be a finite number"),
        ({"high": float("inf")}, r"config\.high must be a finite number or none"),
        ({"steps": 1.5}, r"config\.steps must be a whole number, not 1\.5 \(float\)"),
        ({"steps": True}, r"config\.steps must be a whole number"),
        ({"steps": None}, r"config\.steps must be a whole number, not None"),
        ({"early": 1}, r"config\.early must be true or false"),
        ({"kind": "ppo"}, r"config\.kind must be 'grpo' or 'dapo', not 'ppo'"),
        ({"score_range": (1.0,)}, r"config\.score_range must have 2 values, not 1"),
        ({"score_range": (1.0, "a")}, r"config\.score_range\[1\] must be a finite number"),
        ({"score_range": "ab"}, r"config\.score_range must be "),
        ({"weights": {"format": "a"}}, r"config\.weights\.format must be a finite number"),
        ({"hint": {"replace": "some"}}, r"config\.hint\.replace must be 'all' or a whole number"),
        ({"hint": {"threshold": "high"}}, r"config\.hint\.threshold must be 'auto' or a finite number"),
        ({"hint": {"replace": 0}}, r"config\.hint: replace must not be 0"),
        ({"name": 3}, r"config\.name must be a text"),
    ],
)
def test_errors_name_the_field(change, message):
    with pytest.raises(InputError, match=message):
        from_config_dict(Options, {"name": "x"} | change)


def test_missing_field():
    with pytest.raises(InputError, match=r"config\.name is missing"):
        from_config_dict(Options, {})


def test_digest_is_stable():
    assert digest(OPTIONS) == digest(to_dict(OPTIONS)) == digest(dict(reversed(to_dict(OPTIONS).items())))
    assert digest(OPTIONS) != digest(dataclasses.replace(OPTIONS, beta=0.05))
    program = "from emsa_jax.config.edge import digest; print(digest({'b': (1, 0.1), 'a': 'é'}))"
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == digest({"a": "é", "b": [1, 0.1]})
