"""What an adapter_config.json of PEFT says: plain LoRA, its ranks and scales, and what is trained whole.

Options that are not known are refused, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object

_READ = (
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "bias",
    "init_lora_weights",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
)
# say how an adapter was made or is named, or matter to training alone
_WITHOUT_EFFECT = (
    "task_type",
    "auto_mapping",
    "peft_version",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_pattern",
    "runtime_config",
    "megatron_core",
    "ensure_weight_tying",
    "qalora_group_size",
    "loftq_config",
    "eva_config",
)
_MOST_RANK, _MOST_ALPHA, _MOST_PATTERNS, _LONGEST_PATTERN = 2**16, 1e6, 10**4, 2000
_KEEPS_BASE = ("none", "true", "false", "gaussian", "eva", "orthogonal")  # other initialisations rewrite its weights
# a repeated group, or many repetitions, can take for ever to match: in one pattern, and in many
_REPEATED_GROUP, _CHOICE = re.compile(r"\)[*+{?]"), re.compile(r"(?<!\\)[*+{]|(?<![\\(])\?|\((?!\?[=!<])")
_MOST_CHOICES, _MOST_CHOOSING = 4, 100


@dataclass(frozen=True)
class PeftSettings:
    """The settings of an adapter.

    Attributes:
      rank, alpha: of every linear that no pattern names.
      rooted: whether alpha is divided by the root of the rank (rank-stabilised LoRA), not by the rank.
      whole: ends of the names of modules that are trained whole.
      ranks, alphas: pattern -> value, of the linears that it names. The first that fits counts.
    """

    rank: int
    alpha: float
    rooted: bool = False
    whole: tuple[str, ...] = ()
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)

    @property
    def scale(self) -> float:
        """alpha / rank where no pattern says otherwise."""
        return self._scale(self.rank, self.alpha)

    def of(self, names: Iterable[str]) -> tuple[int, float]:
        """(rank, scale) of a linear. names: its module's spellings, the one of the file first."""
        names = tuple(names)
        rank = _first_fitting(self.ranks, names, self.rank)
        return rank, self._scale(rank, _first_fitting(self.alphas, names, self.alpha))

    def _scale(self, rank: int, alpha: float) -> float:
        return alpha / (rank**0.5 if self.rooted else rank)


def read_settings(path: Path) -> PeftSettings:
    """Reads an adapter_config.json. Raises: InputError naming the field, for what is not plain LoRA or no sound
    value."""
    raw = read_object(path)
    if raw is None:
        raise InputError(f"{path}: is missing; a directory of an adapter needs it")
    if raw.get("peft_type", "LORA") != "LORA":
        raise InputError(f"{path}: peft_type is {raw['peft_type']!r}, but only LORA is supported")
    for option, value in raw.items():
        if value and option not in (*_READ, *_WITHOUT_EFFECT):
            raise InputError(f"{path}: {option} is set, but only plain LoRA is supported")
    if raw.get("bias", "none") != "none":
        raise InputError(f"{path}: bias is {raw['bias']!r}, but only 'none' is supported")
    if str(raw.get("init_lora_weights")).lower() not in _KEEPS_BASE:
        raise InputError(
            f"{path}: init_lora_weights is {raw['init_lora_weights']!r}, which changes the base; "
            "convert the adapter to plain LoRA"
        )
    rooted = raw.get("use_rslora")
    if rooted not in (None, False, True):
        raise InputError(f"{path}: use_rslora is {rooted!r}, but must be true or false")
    saved = raw.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
        raise InputError(f"{path}: modules_to_save is {saved!r}, but must be a list of names")
    return PeftSettings(
        rank=_rank(raw.get("r"), f"{path}: r"),
        alpha=_alpha(raw.get("lora_alpha"), f"{path}: lora_alpha"),
        rooted=bool(rooted),
        whole=tuple(saved),
        ranks={k: _rank(v, f"{path}: rank_pattern {k!r}") for k, v in _patterns(raw, "rank_pattern", path).items()},
        alphas={k: _alpha(v, f"{path}: alpha_pattern {k!r}") for k, v in _patterns(raw, "alpha_pattern", path).items()},
    )


def _rank(value: Any, where: str) -> int:
    if type(value) is not int or not 1 <= value <= _MOST_RANK:
        raise InputError(f"{where} is {value!r}, but must be a whole number from 1 to {_MOST_RANK}")
    return value


def _alpha(value: Any, where: str) -> float:
    if type(value) not in (int, float) or not 0 < abs(value) <= _MOST_ALPHA:
        raise InputError(f"{where} is {value!r}, but must be a number that is not 0, up to {_MOST_ALPHA}")
    return value


def _patterns(raw: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    """rank_pattern or alpha_pattern, whose patterns are sound and cannot keep a reader busy."""
    found = raw.get(name) or {}
    if not isinstance(found, dict) or len(found) > _MOST_PATTERNS:
        raise InputError(f"{path}: {name} is no object of at most {_MOST_PATTERNS} patterns")
    choices = {pattern: len(_CHOICE.findall(pattern)) for pattern in found}
    if sum(map(bool, choices.values())) > _MOST_CHOOSING:
        raise InputError(
            f"{path}: {name} has more than {_MOST_CHOOSING} patterns with choices; name the modules plainly"
        )
    for pattern in found:
        repeated = _REPEATED_GROUP.search(pattern) or choices[pattern] > _MOST_CHOICES
        if repeated or len(pattern) > _LONGEST_PATTERN:
            raise InputError(f"{path}: {name} {pattern[:80]!r} is too involved; name the modules plainly")
        try:
            re.compile(_whole_name(pattern))
        except (re.error, RecursionError, OverflowError) as error:
            raise InputError(f"{path}: {name} {pattern[:80]!r} is no pattern ({error})") from error
    return found


def _first_fitting(patterns: Mapping[str, Any], names: tuple[str, ...], default: Any) -> Any:
    """The value of the first pattern that fits one of the names, those of the first name before those of the next."""
    for name in names if patterns else ():
        for pattern, value in patterns.items():
            if re.match(_whole_name(pattern), name):
                return value
    return default


def _whole_name(pattern: str) -> str:
    """As PEFT reads a pattern: of a name's end, which begins after a dot."""
    return rf"(.*\.)?({pattern})$"
