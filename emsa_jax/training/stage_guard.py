"""What a stage is watched for: updates that were not taken, steps that taught nothing, answers that cannot teach, and
answers that have become one and the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from emsa_jax.errors import InputError
from emsa_jax.learning.guard import told
from emsa_jax.learning.learning_options import GuardOptions, OptimizerOptions
from emsa_jax.learning.optimizer import EPS
from emsa_jax.runtime.console import say
from emsa_jax.training.validation import Look

IN_A_ROW = 5  # steps of a kind after which it is told
SMALLEST = 1e-10  # a trained number that moves less in a step does not move: float32 is 2e-9 apart at 0.02
LISTED = 8  # ids of clips that a line names
LEAST_CLIPS = 8  # of fewer it says little that all answers are the same

UNPARSED, CUT_OFF, NO_SPREAD = "completions/unparsed", "completions/clipped_ratio", "frac_reward_zero_std"
SHARES = {
    UNPARSED: "most answers cannot be read",
    CUT_OFF: "most answers are cut off at the length limit",
    NO_SPREAD: "in most groups all answers earn the same",
}
ADVICE = {
    UNPARSED: "train the cold start longer (sft.epochs, sft.max_steps), or name a policy that knows the format",
    CUT_OFF: "raise sampling.max_completion_length",
    NO_SPREAD: "raise sampling.temperature or grpo.group_size",
}
LEARNED, NOTHING_LEARNED, COLLAPSED = "learned", "nothing_learned", "collapsed"  # what has become of a stage


@dataclass(kw_only=True)
class Seen:
    """What was counted so far; JSON values, which a checkpoint keeps.

    bad: steps in a row with an update that was not taken. all_bad: such updates of the stage. steps: with an update
    that was taken. idle: those in a row that taught nothing. taught: whether any did. reason: why the last one that
    taught nothing did not. over: metric -> steps in a row in which it was over its limit. collapsed: what is told of
    the last look at the validation split, "" where its answers differ. kept_collapsed, kept_unparsed: the same of the
    look at what is kept, and the share of its answers that cannot be read. first_unparsed: that of the first look, -1
    before it. told: (what it is about, its
    line) of each warning.
    """

    bad: int = 0
    all_bad: int = 0
    steps: int = 0
    idle: int = 0
    taught: bool = False
    reason: str = ""
    over: dict[str, int] = field(default_factory=dict)
    collapsed: str = ""
    kept_collapsed: str = ""
    kept_unparsed: float = 0.0
    first_unparsed: float = -1.0
    told: list[list[str]] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """The lines of all warnings, in order."""
        return [line for _, line in self.told]


@dataclass(kw_only=True)
class StageGuard:
    """The watch over the steps of a stage. Of several processes all see the same numbers."""

    stage: str
    options: GuardOptions
    optimizer: OptimizerOptions
    strict: bool = False
    seen: Seen = field(default_factory=Seen)

    def saved(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return asdict(self.seen)

    def check_update(self, step: int, cause: int, bad: int, ids: Sequence[str], listed_in: str = "") -> None:
        """Counts a step, and warns where an update of it was not taken.

        Args:
          cause: of the first such update, an index of `guard.CAUSES`. bad: how many there were.
          listed_in: the file that has all ids.
        """
        self.seen.bad = self.seen.bad + 1 if bad else 0
        self.seen.all_bad += bad
        if bad:
            named = ", ".join(ids[:LISTED]) + (f" and {len(ids) - LISTED} more" if len(ids) > LISTED else "")
            updates = "the update" if bad == 1 else f"{bad} updates"
            say(
                f"warning: {self.stage}: {updates} of step {step} {'is' if bad == 1 else 'are'} not taken, since "
                f"{told(cause)} (clips {named}{f'; all in {listed_in}' if listed_in else ''}); what is "
                "trained stays as it was"
            )

    def end_if_bad(self, step: int, cause: int, kept: str) -> None:
        """Raises InputError after too many steps in a row with an update that was not taken. kept: where the last
        state is."""
        if self.seen.bad >= self.options.max_bad_steps:
            raise InputError(
                f"{self.stage}: at step {step}, {told(cause, now=False)}, {self.seen.bad} steps in a row "
                f"(guard.max_bad_steps={self.options.max_bad_steps}); the last sound state is kept in {kept}. Lower "
                f"{self.stage}.{self._rate}, or look at the clips that the warnings name"
            )

    def end_if_strict(self) -> None:
        """Raises InputError with the first warning, where warnings end the run."""
        if self.strict and self.seen.told:
            raise InputError(f"{self.seen.warnings[0]} (strict=True)")

    def check_learning(self, values: Mapping[str, float], rate: float, change: float, no_signal: str) -> None:
        """Counts a step of which an update was taken, and warns after `IN_A_ROW` that taught nothing.

        Args:
          values: the row of metrics.
          rate: the learning rate of the step.
          change: the largest change of a trained number.
          no_signal: why there was nothing to learn from, "" if there was.
        """
        cause, seen = no_signal or self._cause(values, rate, change), self.seen
        seen.steps, seen.reason = seen.steps + 1, cause or seen.reason
        seen.idle = seen.idle + 1 if cause else 0
        seen.taught |= not cause
        for name, limit in self._limits().items():
            share = values.get(name)
            seen.over[name] = seen.over.get(name, 0) + 1 if share is not None and share > limit else 0
            if seen.over[name] == IN_A_ROW:
                self._tell_share(name, IN_A_ROW, bool(cause))
        if seen.idle == IN_A_ROW:
            self.tell("nothing learned", f"{IN_A_ROW} steps in a row taught nothing: {seen.reason}")

    def check_answers(self, step: int, look: Look, kept: bool, at_once: bool) -> None:
        """Notes whether greedy answers to validation clips have become one and the same, after a step.

        Args:
          kept: whether what is trained now is kept as the best so far.
          at_once: whether it is told now, and not only at the end if it is still so.
        """
        self.seen.collapsed = self._collapse(step, look)
        if self.seen.first_unparsed < 0:
            self.seen.first_unparsed = look.unparsed
        if kept:
            self.seen.kept_collapsed, self.seen.kept_unparsed = self.seen.collapsed, look.unparsed
        if at_once and self.seen.collapsed:
            self.tell("collapse", self.seen.collapsed)

    def finish(self, last: bool = True) -> str:
        """The status of the stage, after warnings of what was not told yet. last: whether the end counts even where
        something else is kept."""
        seen = self.seen
        if seen.steps < IN_A_ROW:
            for name, steps in seen.over.items():
                if steps == seen.steps:
                    self._tell_share(name, steps, not seen.taught)
        if not seen.taught and (seen.idle or seen.all_bad):
            reason = seen.reason
            if seen.all_bad:
                some = f"{seen.all_bad} updates were not finite, and of the others: {reason}" if reason else ""
                reason = f"{some or 'no update was finite'}; lower {self.stage}.{self._rate}"
            self.tell("nothing learned", f"no step taught anything: {reason}")
            return NOTHING_LEARNED
        if seen.kept_unparsed > self.options.unparsed:
            share = f"{seen.kept_unparsed:.0%} of the greedy answers to validation clips cannot be read"
            if lost := seen.first_unparsed <= self.options.unparsed:  # it could write answers, and has unlearned it
                before = f"of the first look, {seen.first_unparsed:.0%} could not"
                self.tell(UNPARSED, f"{share}, and {before}; lower {self.stage}.{self._rate}")
            else:
                self.tell(UNPARSED, f"{share}; {ADVICE[UNPARSED]}")
            if lost and not seen.kept_collapsed:
                return COLLAPSED
        if collapsed := seen.kept_collapsed or (seen.collapsed if last else ""):
            self.tell("collapse", collapsed)
            return COLLAPSED
        return LEARNED

    def tell(self, about: str, text: str) -> None:
        """Warns, once of a thing; where warnings end the run, `end_if_strict` says it."""
        if about not in [one for one, _ in self.seen.told]:
            line = f"{self.stage}: {text}"
            self.seen.told.append([about, line])
            if not self.strict:
                say(f"warning: {line}")

    def _tell_share(self, name: str, steps: int, idle: bool) -> None:
        """Warns of a share that was over its limit; where nothing was learned, only if that is not the reason told."""
        if name == UNPARSED or not idle:
            when = f"each of the last {steps} steps" if steps == IN_A_ROW else "every step"
            self.tell(name, f"{SHARES[name]}; {ADVICE[name]}: {name} was over {self._limits()[name]:g} in {when}")

    def _cause(self, values: Mapping[str, float], rate: float, change: float) -> str:
        if values.get("grad_norm") == 0:
            return "the gradient is 0: nothing that is trained is on the path of the loss; see lora.targets"
        clip = self.optimizer.clip_norm
        if rate * min(1.0, 1.0 if clip is None else clip / EPS) < SMALLEST:
            small = "learning_rate" if rate < SMALLEST and self.optimizer.learning_rate < SMALLEST else "clip_norm"
            small = "warmup" if rate == 0 else small
            return f"{self.stage}.optimizer.{small} leaves the updates too small to change anything; change it"
        if change < SMALLEST:
            why = (
                "the updates are smaller than its type can hold"
                if change == 0
                else f"the largest change is {change:.0e}"
            )
            return f"no trained number changes: {why}; raise {self.stage}.{self._rate}, or train in dtype=float32"
        return ""

    def _collapse(self, step: int, look: Look) -> str:
        """What is told of greedy answers that have become one and the same, "" where they differ.

        Where the labels themselves are mostly of one class, answers may be so too."""
        limit, clips = self.options.collapse, look.clips
        one_class = look.commonest_class > max(limit, look.true_class)
        same = look.commonest_answer > (max(limit, look.true_class) if look.short_answers else limit)
        if clips < LEAST_CLIPS or not (one_class or same):
            return ""
        share = look.commonest_answer if same else look.commonest_class
        what = "are one and the same text" if same else "name one and the same class"
        if look.unparsed > self.options.unparsed:
            advice = f"they cannot be read either: {ADVICE[UNPARSED]}"
        else:
            advice = f"lower {self.stage}.{self._rate}"
            advice += " or raise loss.beta" if self.stage == "grpo" else ", or look at the classes of the training set"
        return f"after step {step}, {share:.0%} of the greedy answers to {clips} validation clips {what}; {advice}"

    @property
    def _rate(self) -> str:
        """The field of the learning rate, below that of the stage."""
        return "learning_rate" if self.stage == "align" else "optimizer.learning_rate"

    def _limits(self) -> dict[str, float]:
        options = self.options
        return {
            UNPARSED: options.unparsed,
            CUT_OFF: options.cut_off,
            NO_SPREAD: options.no_spread,
        }
