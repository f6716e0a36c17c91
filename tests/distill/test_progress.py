"""What is asked next is a function of the rows alone, so that going on is the same as never having stopped."""

import itertools

import pytest

from emsa_jax.distill.progress import Progress, Step, next_step

ASKS = {"write": "w", "refine": "r"}


def attempt(n, verdict, step="write", **more):
    of = {"of": {"step": "write", "attempt": 0, "ask": "w"}} if step == "refine" else {}
    return {
        "kind": "attempt",
        "id": "a",
        "step": step,
        "attempt": n,
        "ask": ASKS[step],
        "verdict": verdict,
        "filter": "f",
        "requests": 1,
        "tokens": {"prompt": 10, "answer": 5},
        **of,
        **more,
    }


def judge(n, verdict, of):
    return {
        "kind": "judge",
        "id": "a",
        "step": "judge",
        "attempt": n,
        "ask": of["ask"],
        "verdict": verdict,
        "of": {name: of[name] for name in ("step", "attempt", "ask")},
        "requests": 2,
        "tokens": {},
    }


def decision(verdict, version, of=None):
    return {
        "kind": "decision",
        "id": "a",
        "verdict": verdict,
        "version": version,
        "of": of and {name: of[name] for name in ("step", "attempt", "ask")},
    }


def after(*rows, refine=False, attempts=2, asks=ASKS):
    progress = Progress()
    for place, row in enumerate(rows):
        progress.take(row, place)
    sample = progress.sample("a")
    return next_step(sample, asks, attempts, refine), sample.trace_place()


W0, W1 = attempt(0, "rejected"), attempt(1, "accepted")
P0, R0 = attempt(0, "pending"), attempt(0, "accepted", "refine")


@pytest.mark.parametrize(
    ("rows", "step", "place"),
    [
        ((), Step("write", 0, None), None),
        ((W0,), Step("write", 1, None), None),
        ((attempt(0, "failed"),), Step("write", 1, None), None),
        ((W0, W1), None, 1),
        ((W0, attempt(1, "rejected")), None, None),
        ((P0,), Step("judge", 0, ("write", 0, "w")), None),
        ((P0, judge(0, "accepted", P0)), None, 0),
        ((P0, judge(0, "rejected", P0)), Step("write", 1, None), None),
        ((P0, judge(0, "failed", P0)), Step("judge", 1, ("write", 0, "w")), None),
        ((W0, decision("rejected", 1)), None, None),
        ((W0, decision("accepted", 1, W0)), None, 0),
        ((W0, W1, decision("rejected", 1)), None, None),
        ((W0, W1, decision("edited", 1)), None, 2),
        ((W0, W1, decision("edited", 1), decision("rejected", 2)), None, None),
    ],
)
def test_next(rows, step, place):
    assert after(*rows) == (step, place)


def test_a_kept_trace_is_refined_and_stands_where_that_fails():
    first = attempt(0, "accepted")
    assert after(first, refine=True) == (Step("refine", 0, ("write", 0, "w")), 0)
    assert after(first, attempt(0, "rejected", "refine"), refine=True)[0] == Step("refine", 1, ("write", 0, "w"))
    assert after(first, attempt(0, "rejected", "refine"), attempt(1, "rejected", "refine"), refine=True) == (None, 0)
    assert after(first, R0, refine=True) == (None, 1)


def test_another_question_has_its_own_attempts():
    assert after(W0, attempt(1, "rejected"), asks={"write": "w2", "refine": "r"})[0] == Step("write", 0, None)
    assert after(W0, W1, asks={"write": "w2", "refine": "r"}) == (None, 1)  # what stands, stands
    assert after(W0, attempt(1, "rejected"), attempts=3)[0] == Step("write", 2, None)


def test_the_best_by_reward_stands():
    rows = [
        attempt(n, verdict, reward=reward)
        for n, (verdict, reward) in enumerate(
            [("accepted", 1.0), ("accepted", 2.5), ("rejected", 3.0), ("accepted", 2.0)]
        )
    ]
    assert after(*rows)[1] == 1


def test_an_earlier_verdict_can_be_taken_back():
    again = {
        "kind": "filter",
        "id": "a",
        "of": {"step": "write", "attempt": 1, "ask": "w"},
        "verdict": "rejected",
        "filter": "g",
    }
    assert after(W0, W1, again, attempts=3) == (Step("write", 2, None), None)


def test_what_was_spent():
    progress = Progress()
    for place, row in enumerate([W0, judge(0, "failed", W0), {"kind": "spent", "requests": 3}, {"kind": "new kind"}]):
        progress.take(row, place)
    spent = progress.spent
    assert (spent.requests, spent.prompt_tokens, spent.answer_tokens, spent.tokens) == (6, 10, 5, 15)
    assert spent.money(2.0, 4.0) == pytest.approx((10 * 2 + 5 * 4) / 1e6)


def test_every_way_ends():
    """Whatever the answers, a sample is settled after a bounded number of steps, and no step comes twice."""
    for verdicts in itertools.product(("accepted", "rejected", "failed", "pending"), repeat=6):
        progress, seen, left = Progress(), [], iter(verdicts)
        while step := next_step(progress.sample("a"), ASKS, 2, True):
            assert step not in seen
            seen.append(step)
            verdict = next(left, "accepted")
            if step.step == "judge":
                verdict = "rejected" if step.attempt == 1 and verdict in ("failed", "pending") else verdict
                row = judge(step.attempt, "failed" if verdict == "pending" else verdict, step.of._asdict())
            else:
                row = attempt(step.attempt, verdict, step.step)
            progress.take(row, len(seen))
        assert len(seen) <= 12
