"""The tables of the papers: which arms each compares, and what an arm changes of the config that all have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

from emsa_jax.data.data_options import MODALITIES
from emsa_jax.data.dataset_options import CrossDataset
from emsa_jax.errors import InputError
from emsa_jax.training.training_options import GrpoOptions

C = TypeVar("C")  # a run's config, or a group of it
Start = Literal["zero_shot", "sft", "grpo"]
Config = TypeVar("Config")  # the options of a run, or a group of them


@dataclass(frozen=True)
class Arm:
    """One row of a table.

    name: its directory. title: its heading. stage: the policy that is evaluated: before the cold start, after it, or
    after GRPO. changes: dotted fields of a run's config for GRPO and evaluation. steps: factor of the GRPO steps.
    start: dotted fields for the cold start; arms with equal ones have one cold start in common. swapped: trained on the
    other domain. evaluates: an arm whose policy is evaluated anew under the changes; nothing is trained. continues: the
    cold start goes on for as many answer tokens as this arm of GRPO drew.
    """

    name: str
    title: str
    stage: Start = "grpo"
    changes: Mapping[str, Any] = field(default_factory=dict)
    steps: float = 1.0
    start: Mapping[str, Any] = field(default_factory=dict)
    swapped: bool = False
    evaluates: str = ""
    continues: str = ""


@dataclass(frozen=True)
class Table:
    """A table. question: what it asks. baseline: the arm that the others are compared with."""

    question: str
    arms: tuple[Arm, ...]
    baseline: str


ZERO = Arm("zero_shot", "zero-shot", "zero_shot")
COLD = Arm("cold", "cold start (SFT)", "sft")
PAPER = Arm("paper", "SFT + RL, hint (paper: all replaced, masked)", changes={"hint.mode": "hint"})
OFF = Arm("off", "SFT + RL, no hint", changes={"hint.mode": "off"})
DROP = Arm("drop_hard", "SFT + RL, without hard samples", changes={"hint.mode": "drop_hard"})
CONTINUED = Arm("continued", "cold start continued for as many tokens", "sft", continues="off")
TWO = Arm(
    "two_loss",
    "two of G hinted, hint in the loss",
    changes={"hint.mode": "hint", "hint.replace": 2, "hint.loss_on_hint": True},
)
NLL = Arm(
    "nll_hard",
    "no hint, NLL of the polarity on hard samples",
    changes={"hint.mode": "off", "hint.polarity_nll": 0.1, "hint.polarity_nll_scope": "hard"},
)
TWO_MASKED = Arm("two_masked", "two of G hinted, masked", changes={"hint.mode": "hint", "hint.replace": 2})
NLL_ALL = Arm(
    "nll_all",
    "no hint, NLL of the polarity on all samples",
    changes={"hint.mode": "off", "hint.polarity_nll": 0.1, "hint.polarity_nll_scope": "all"},
)
NO_STD = Arm("no_std", "no hint, advantages not divided by the std", changes={"hint.mode": "off", "adv.scale": "none"})
LONGER = Arm("longer", "no hint, 25% more steps", changes={"hint.mode": "off"}, steps=1.25)
# every group counts as one without spread: no policy gradient, and the supervision is all that is left beside the KL
SUPERVISED = Arm(
    "supervised",
    "supervision of the polarity alone, no RL",
    changes={"hint.mode": "off", "hint.polarity_nll": 0.1, "hint.polarity_nll_scope": "all", "adv.min_std": 1e9},
)

MANY = {arm.name for arm in (ZERO, COLD, PAPER, OFF, DROP, TWO, NLL)}  # with the many, paired seeds


def _without(*hidden: str) -> dict[str, Any]:
    return {"prompt.modalities": tuple(m for m in MODALITIES if m not in hidden)}


# a cold start that saw each subset of the modalities: to one that always saw all, a prompt without some means nothing
DROPPED = {"modality_dropout": dict.fromkeys(MODALITIES, 0.3)}
KEPT = {"modality_dropout": dict.fromkeys(MODALITIES, 0.0)}
SHOWN_ALL = Arm("shown_all", "RL with text, audio and video", changes={"hint.mode": "hint"} | KEPT, start=DROPPED)


def _kept(*kept: str) -> Arm:
    hidden = [m for m in MODALITIES if m not in kept]
    return Arm(
        "only_" + "_".join(kept),
        f"RL with {' and '.join(kept)} alone",
        changes={"hint.mode": "hint"} | KEPT | _without(*hidden),
        start=DROPPED,
    )


def _hidden(name: str) -> Arm:
    return Arm(
        f"hide_{name}",
        f"RL with all, {name} hidden when judged",
        changes=KEPT | _without(name),
        evaluates="shown_all",
        start=DROPPED,
    )


def _format(title: str, name: str = "") -> tuple[Arm, Arm]:
    """The arms of an answer format; without a name, of the format that the base has."""
    start = {"format": name, "hint.mode": "off"} if name else {}
    return (
        Arm(f"{name}_cold" if start else "cold", f"{title}: cold start", "sft", start=start),
        Arm(f"{name}_off" if start else "off", f"{title}: SFT + RL", changes={"hint.mode": "off"}, start=start),
    )


SWAPPED_COLD = replace(COLD, name="swapped_cold", title="trained on the other domain: cold start", swapped=True)
SWAPPED = replace(PAPER, name="swapped", title="trained on the other domain: SFT + RL", swapped=True)

TABLES = {
    "hint": Table("Does the hint help, and do hard samples?", (ZERO, COLD, OFF, CONTINUED, PAPER, DROP), "off"),
    "hints": Table(
        "Which form of help for hard samples?",
        (COLD, OFF, PAPER, DROP, TWO, NLL, TWO_MASKED, NLL_ALL, NO_STD, LONGER, SUPERVISED, CONTINUED),
        "paper",
    ),
    "cross_domain": Table(
        "What is left in the other domain?",
        (
            replace(COLD, title="trained on the first domain: cold start"),
            replace(PAPER, title="trained on the first domain: SFT + RL"),
            SWAPPED_COLD,
            SWAPPED,
        ),
        "paper",
    ),
    "format": Table(
        "Does the order of the answer matter, and the reasoning?",
        (
            *_format("polarity, reasoning, score (DC)"),
            *_format("reasoning first", "think_first"),
            *_format("score alone", "label_only"),
        ),
        "off",
    ),
    "modality": Table(
        "Which modality carries it?",
        (
            SHOWN_ALL,
            _kept("text"),
            _kept("audio"),
            _kept("video"),
            _kept("text", "audio"),
            _kept("text", "video"),
            _kept("audio", "video"),
            _hidden("text"),
            _hidden("audio"),
            _hidden("video"),
        ),
        "shown_all",
    ),
}


def changed(config: C, changes: Mapping[str, Any]) -> C:
    """A frozen dataclass with dotted fields set. Raises InputError naming a field that it does not have."""
    grouped: dict[str, Any] = {}
    for path, value in changes.items():
        head, _, rest = path.partition(".")
        if head not in {f.name for f in fields(config)}:
            raise InputError(f"{path} is no field of {type(config).__name__}")
        if rest:
            grouped.setdefault(head, {})[rest] = value
        else:
            grouped[head] = value
    found = {
        name: changed(getattr(config, name), value)
        if isinstance(value, dict) and is_dataclass(getattr(config, name))
        else value
        for name, value in grouped.items()
    }
    return replace(config, **found)


def lengthened(options: GrpoOptions, factor: float) -> GrpoOptions:
    """GRPO of `factor` times as many steps, however its length is given."""
    if options.max_steps:
        return replace(options, max_steps=max(1, round(options.max_steps * factor)))
    return replace(options, epochs=options.epochs * factor)


def swapped(config: C, traces: str) -> C:
    """A run's config trained on the other domain, and evaluated on the first one, asked about in the same way."""
    first = CrossDataset(**asdict(config.train_set), asked_as="train")
    other = config.cross
    if not other.data:
        raise InputError("base.cross.data: this table needs a second domain")
    return replace(
        config,
        data=other.data,
        score_range=other.score_range,
        language=other.language,
        dataset=other.dataset,
        cross=first,
        traces=traces,
    )
