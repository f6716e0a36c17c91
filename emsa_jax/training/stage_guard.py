"""What a stage is watched for: updates that were not taken, steps that taught nothing, answers that cannot teach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from emsa_jax.errors import InputError
from emsa_jax.learning.guard import CAUSES
from emsa_jax.learning.learning_options import GuardOptions, OptimizerOptions
from emsa_jax.learning.optimizer import EPS
from emsa_jax.runtime.console import say

IN_A_ROW = 5  # steps of a kind after which it is told
SMALLEST = 1e-10  # a trained number that moves less in a step does not move: float32 is 2e-9 apart at 0.02
LISTED = 8  # ids of clips that a line names


@dataclass(kw_only=True)
class Seen:
    """What was counted so far; JSON values, which a checkpoint keeps. bad: steps in a row whose update was not taken.
    all_bad: of the stage. idle: steps in a row that taught nothing. taught: whether any step did. over: metric -> steps
    in a row in which it was over its limit. told: warnings."""

    bad: int = 0
    all_bad: int = 0
    idle: int = 0
    taught: bool = False
    over: dict[str, int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class StageGuard:
    """The watch over the steps of a stage. Of several processes all see the same numbers."""

    stage: str
    options: GuardOptions
    optimizer: OptimizerOptions
    strict: bool = False
    seen: Seen = field(default_factory=Seen)
    reason: str = ""  # why the last step that taught nothing did not

    def saved(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return asdict(self.seen)

    def check_update(self, step: int, cause: int, ids: Sequence[str]) -> None:
        """Counts a step, and warns where its update was not taken. cause: an index of `guard.CAUSES`."""
        self.seen.bad = self.seen.bad + 1 if cause else 0
        self.seen.all_bad += bool(cause)
        if cause:
            named = ", ".join(ids[:LISTED]) + (f" and {len(ids) - LISTED} more" if len(ids) > LISTED else "")
            say(
                f"warning: {self.stage}: the update of step {step} is not taken, since {CAUSES[cause]} is not finite "
                f"(clips {named}); what is trained stays as it was"
            )

    def end_if_bad(self, step: int, cause: int, kept: str) -> None:
        """Raises InputError after too many steps in a row whose update was not taken. kept: where the last state is."""
        if self.seen.bad >= self.options.max_bad_steps:
            raise InputError(
                f"{self.stage}: at step {step}, {CAUSES[cause]} was not finite, {self.seen.bad} steps in a row "
                f"(guard.max_bad_steps={self.options.max_bad_steps}); the last sound state is kept in {kept}. Lower "
                f"{self.stage}.optimizer.learning_rate, or look at the clips that the warnings name"
            )

    def check_learning(self, values: Mapping[str, float], rate: float, change: float, no_signal: str) -> None:
        """Counts a step whose update was taken, and warns after `IN_A_ROW` that taught nothing.

        Args:
          values: the row of metrics.
          rate: the learning rate of the step.
          change: the largest change of a trained number.
          no_signal: why there was nothing to learn from, "" if there was.
        """
        self.reason = no_signal or self._cause(values, rate, change) or self.reason
        idle = bool(no_signal or self._cause(values, rate, change))
        self.seen.idle = self.seen.idle + 1 if idle else 0
        self.seen.taught |= not idle
        for name, (limit, advice) in self._limits().items():
            share = values.get(name)
            self.seen.over[name] = self.seen.over.get(name, 0) + 1 if share is not None and share > limit else 0
            if self.seen.over[name] == IN_A_ROW and not idle:
                self._tell(f"{advice}: {name} was over {limit:g} in each of the last {IN_A_ROW} steps")
        if self.seen.idle == IN_A_ROW:
            self._tell(f"{IN_A_ROW} steps in a row taught nothing: {self.reason}")

    def finish(self) -> str:
        """The status of the stage, "learned" or "nothing_learned", after a warning if that was not told yet."""
        if self.seen.taught or not self.seen.idle:
            return "learned"
        if self.seen.idle < IN_A_ROW:
            self._tell(f"no step taught anything: {self.reason}")
        return "nothing_learned"

    def _cause(self, values: Mapping[str, float], rate: float, change: float) -> str:
        if values.get("grad_norm") == 0:
            return "the gradient is 0: nothing that is trained is on the path of the loss; see lora.targets"
        clip = self.optimizer.clip_norm
        if rate * min(1.0, 1.0 if clip is None else clip / EPS) < SMALLEST:
            small = "learning_rate" if rate < SMALLEST and self.optimizer.learning_rate < SMALLEST else "clip_norm"
            small = "warmup" if rate == 0 else small
            return f"{self.stage}.optimizer.{small} leaves the updates too small to change anything; change it"
        if change == 0:
            return (
                f"no trained number changes: the updates are smaller than its type can hold; raise {self.stage}."
                "optimizer.learning_rate, or train in dtype=float32"
            )
        return ""

    def _limits(self) -> dict[str, tuple[float, str]]:
        options = self.options
        return {
            "completions/clipped_ratio": (
                options.cut_off,
                "most answers are cut off at the length limit; raise sampling.max_completion_length",
            ),
            "frac_reward_zero_std": (
                options.no_spread,
                "in most groups all answers earn the same; raise sampling.temperature or grpo.group_size",
            ),
        }

    def _tell(self, text: str) -> None:
        line = f"{self.stage}: {text}"
        self.seen.told.append(line)
        if self.strict:
            raise InputError(f"{line} (strict=True)")
        say(f"warning: {line}")
