"""What a distillation will cost, before its first request, and what it has cost so far."""

from __future__ import annotations

from collections.abc import Sequence

from emsa_jax.distill.budget import prompt_tokens
from emsa_jax.distill.distill_plan import DistillPlan, LabelledSample
from emsa_jax.distill.progress import Spent
from emsa_jax.distill.request_media import spread
from emsa_jax.distill.teacher_options import BudgetOptions

PROMPTS_FILLED_IN = 200  # samples whose prompts are filled in


def estimate(plan: DistillPlan, budget: BudgetOptions, left: Sequence[LabelledSample]) -> list[str]:
    """Lines that say how much will be asked: if every first answer is kept, and if every attempt is needed.

    Tokens of prompts are judged by length, by frames and by seconds of sound; what an endpoint charges for these
    differs. Answers are taken at their longest."""
    chosen = spread(len(left), PROMPTS_FILLED_IN)

    def mean(name: str, answer: str) -> float:
        total = 0.0
        for i in chosen:
            _, entry, truth = left[i]
            words = "".join(plan.prompts.fill(name, entry, truth, plan.format, answer))
            total += prompt_tokens(words, entry, truth.modalities, plan.teacher)
        return total / len(chosen)

    longest = "word " * (plan.teacher.max_tokens * 4 // 5)
    steps = [plan.method] + ["judge"] * plan.filter.judge
    steps += [plan.refine_prompt, *["judge"] * plan.filter.judge] if plan.refine else []
    prompt = sum(mean(name, "" if name == plan.method else longest) for name in steps)
    lines = []
    for when, times in (("every first answer is kept", 1), (f"all {plan.attempts} attempts are needed", plan.attempts)):
        requests = len(left) * len(steps) * times
        tokens, answers = len(left) * prompt * times, requests * plan.teacher.max_tokens
        money = (tokens * budget.price_prompt + answers * budget.price_answer) / 1e6
        lines.append(
            f"if {when}: {requests:,} requests, about {_round(tokens)} tokens of prompts, at most "
            f"{_round(answers)} of answers" + (f", cost at most about {money:,.2f}" if money else "")
        )
    return lines


def cost_so_far(spent: Spent, prices: BudgetOptions) -> str:
    """What was spent, for a progress bar."""
    money = spent.money(prices.price_prompt, prices.price_answer)
    return f"{spent.requests:,} requests, {spent.tokens:,} tokens" + (f", cost {money:,.2f}" if money else "")


def _round(tokens: float) -> str:
    return f"{tokens / 1e6:,.1f} million" if tokens >= 1e6 else f"{tokens:,.0f}"
