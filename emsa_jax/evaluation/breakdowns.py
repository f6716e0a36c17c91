"""Results by kind of clip: scenario, interaction, speaker, duration, hardness, agreement of the modalities."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from emsa_jax.answers.labels import polarity_of
from emsa_jax.data.records import Entry
from emsa_jax.evaluation.sentiment_metrics import paper_row, regression_metrics

DURATIONS = ((2, "under 2 s"), (5, "2 to 5 s"), (10, "5 to 10 s"), (float("inf"), "10 s and more"))
UNIMODAL = ("label_T", "label_A", "label_V")  # concepts of a clip: what one modality alone says (CH-SIMS)
SHOWN = 12  # groups of one kind; the rest are one
OTHERS = "others"
HARDNESS = ("hard", "mixed", "easy")


def about(entry: Entry) -> dict[str, str]:
    """What a clip is grouped by, as far as its record tells: kind of breakdown -> group."""
    found = dict(entry.concepts)
    kinds = {name: found[name] for name in ("scenario", "interaction") if found.get(name)}
    kinds |= {"speaker": entry.speaker} if entry.speaker else {}
    if entry.seconds:
        kinds["duration"] = next(name for limit, name in DURATIONS if entry.seconds < limit)
    if all(name in found for name in UNIMODAL):
        kinds["agreement"] = agreement([float(found[name]) for name in UNIMODAL])
    return kinds


def agreement(scores: Sequence[float]) -> str:
    """Of the scores that the modalities alone got: their signs are the same, one is neutral, or two contradict."""
    signs = {polarity_of(score) for score in scores}
    if {"Positive", "Negative"} <= signs:
        return "modalities contradict"
    return "modalities agree" if len(signs) == 1 else "one side neutral"


def hardness(rewards: Sequence[float], threshold: float) -> str:
    """How hard a clip is for the policy that drew these answers: all of them, some, or none stay below the threshold.

    The rewards are those before any hint."""
    below = [reward < threshold for reward in rewards]
    return HARDNESS[0] if all(below) else HARDNESS[1] if any(below) else HARDNESS[2]


def breakdowns(
    rows: Sequence[Mapping], family: str, fallback: str = "worst", neutral_eps: float = 0.0
) -> dict[str, dict[str, dict]]:
    """Kind -> group -> {"n", "polarity_acc", "acc2", "mae", "corr", "parse_rate"}.

    rows: predictions with "target", "score", "polarity" and "about" (see `about`). Kinds with one group alone are
    left out; of many groups the most frequent `SHOWN` stand alone, and all others together. acc2: with 0 as the
    family counts it.
    """
    kinds: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for kind, group in row["about"].items():
            kinds[kind][group].append(row)
    found = {}
    for kind, groups in kinds.items():
        if len(groups) < 2:
            continue
        often = [group for group, _ in Counter({g: len(r) for g, r in groups.items()}).most_common(SHOWN)]
        merged = {group: groups[group] for group in _ordered(kind, often)}
        rest = [row for group, members in groups.items() if group not in merged for row in members]
        merged |= {OTHERS: rest} if rest else {}
        found[kind] = {group: _measured(members, family, fallback, neutral_eps) for group, members in merged.items()}
    return found


def _ordered(kind: str, groups: list[str]) -> list[str]:
    known = {"hardness": HARDNESS, "duration": tuple(name for _, name in DURATIONS)}.get(kind)
    return sorted(groups, key=known.index) if known else groups


def _measured(rows: Sequence[Mapping], family: str, fallback: str, neutral_eps: float) -> dict:
    m = regression_metrics(
        [row["score"] for row in rows],
        [row["target"] for row in rows],
        family,
        fallback,
        [row["polarity"] for row in rows],
        neutral_eps,
    )
    return {
        "n": m["n"],
        "polarity_acc": m["Polarity_acc"],
        "acc2": m[paper_row(family)["Acc2"]],
        "mae": m["MAE"],
        "corr": m["Corr"],
        "parse_rate": m["parse_rate"],
    }
