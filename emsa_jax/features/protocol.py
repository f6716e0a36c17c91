"""How a network is trained: batches, optimizer, rates and the stop, as options. Imports no jax.

The public code of the five networks differs in each of these, and some of it is no choice that one would make today:
such a field says what it is for. Which network has which is in `recipes.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from emsa_jax.config.fields import Options, option


@dataclass(frozen=True)
class Protocol(Options):
    """How a network is trained."""

    group: ClassVar[str] = "protocol"
    batch_size: int = option(16, "utterances of a batch", low=1)
    learning_rate: float = option(2e-3, "of Adam, at the start", above=0)
    weight_decay: float = option(
        0.0, "decoupled, as AdamW has it; MulT, MISA and DLF of the public code name one and never apply it", low=0
    )
    decay: Literal["all", "matrices"] = option(
        "all", "what decays: all, as the public code has it, biases and norms too, or matrices alone"
    )
    accumulate: int = option(1, "batches whose gradients make one update", low=1)
    average: bool = option(
        False, "take the mean of the batches of an update; the public code takes their sum, and clips it as one"
    )
    leftover: Literal["lose", "use"] = option(
        "lose",
        "batches at the end of an epoch that do not fill an update: lose, as the public code throws away their "
        "gradients, or use, in a smaller update",
    )
    clip_value: float = option(
        0.0, "every gradient is cut to this size after every batch, on the running sum; 0: not", low=0
    )
    clip_norm: float = option(0.0, "the gradient of an update is scaled down to this norm; 0: not", low=0)
    schedule: Literal["constant", "plateau", "warmup_cosine"] = option(
        "constant",
        "the rate: constant; plateau, times `factor` after `patience` epochs without a better validation loss; "
        "warmup_cosine, over max_epochs, whose first epoch has rate 0, as ALMT has it",
    )
    factor: float = option(0.1, "see schedule", above=0, below=1)
    patience: int = option(10, "see schedule", low=0)
    early_stop: int = option(8, "epochs without a better validation loss that end a seed", low=1)
    max_epochs: int = option(200, "epochs at most; the public code has no such limit", low=1)
    loss_decimals: int = option(
        4, "to which the validation loss is rounded before it is compared; 0: not, but the public code does", low=0
    )


def warmup_cosine(epoch: int, epochs: int) -> float:
    """The rate of an epoch (1-based) of `epochs`, as a share of the first: ALMT's warm-up over a tenth of the epochs,
    then half a cosine. Source: ALMT's public code, whose first epoch has rate 0."""

    warmup = 0.1 * epochs
    if epoch <= warmup + 1:
        return (epoch - 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (epoch - warmup - 2) / (epochs - warmup)))
