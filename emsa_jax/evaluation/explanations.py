"""Whether explanations are true: what answers claim of a clip, against what is known of it.

An answer owes the sign of each modality that was shown, and whether these agree, as far as it is known of the clip
(`answers.claim_truth`). What it does not say is missing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from emsa_jax.answers.answer_format import Answer
from emsa_jax.answers.claim_truth import claims_of, true_claims, true_degrees, true_signs
from emsa_jax.answers.claims import AGREEMENT, NO, falsely_agrees, not_shown, supported
from emsa_jax.data.records import Entry
from emsa_jax.evaluation.resampling import intervals


def claims_row(
    answer: Answer, entry: Entry, shown: Sequence[str], score_range: tuple[float, float], neutral_eps: float
) -> dict:
    """What an answer claims and what it owes, as JSON values: the field "claims" of a row of predictions.

    stated, owed: [about, sign] each. finer, owed_finer: [aspect, value], degrees alone are owed. supports: the polarity
    that the stated evidence supports, or None. agrees_falsely: whether it claims an agreement that its own claims deny.
    not_shown: what it speaks of though it was not shown. shown: of "text", "audio", "video"."""
    found = claims_of(answer)
    owed = true_claims(true_signs(entry.concepts, neutral_eps), shown)
    return {
        "stated": sorted(map(list, found.stated)),
        "owed": sorted(map(list, owed)),
        "finer": sorted(map(list, found.finer)),
        "owed_finer": sorted(map(list, true_degrees(entry.concepts, max(map(abs, score_range))).items())),
        "supports": supported(found),
        "agrees_falsely": falsely_agrees(found),
        "not_shown": not_shown(answer.think, found, shown),
    }


def false_claims(row: Mapping) -> list[list[str]]:
    """The claims of a row of predictions that are known to be false, what was not shown included."""
    held = row.get("claims") or {"stated": (), "owed": (), "not_shown": ()}
    known = {about for about, _ in held["owed"]}
    absent = [[about, "not shown"] for about in held["not_shown"]]
    return [claim for claim in held["stated"] if claim[0] in known and claim not in held["owed"]] + absent


def explanations(rows: Sequence[Mapping], resamples: int = 0) -> dict | None:
    """What the explanations of predictions come to; None without any.

    clips: that something is known of. f1, precision, recall: of claims, micro over these clips, what is owed and not
    said counts as missing. no_false: the share of answers without a false claim, which those have too that claim
    nothing: claiming, how many of the answers claim something, belongs to it. contradicting: the same over clips
    whose modalities do not agree, with `named`, the share of answers that say so, and `named_truly`, of those that say
    so and claim nothing false. finer: `f1` of degrees, where the scores of single modalities are known. supports,
    contradicts: shares of answers whose stated evidence supports the polarity that they name, and another one.
    agrees_falsely, not_shown: shares of answers. intervals: of f1, no_false and those of contradicting clips."""
    held = [row for row in rows if "claims" in row]
    if not held:
        return None
    known = [row for row in held if row["claims"]["owed"]]
    counts = np.array([_counts(row) for row in known], int).reshape(len(known), 7)
    contradicting = counts[counts[:, 4] > 0]
    finer = np.array([_finer_counts(row) for row in held if row["claims"]["owed_finer"]]).reshape(-1, 3)
    named = [(row["claims"]["supports"], row["polarity"]) for row in held]
    found = {
        **_sizes(counts),
        **_rates(counts),
        "contradicting": {**_sizes(contradicting), **_rates(contradicting), **_naming(contradicting)},
        "finer": {"clips": len(finer), "f1": _rates(finer)["f1"]},
        "supports": _share([supports is not None and supports == polarity for supports, polarity in named]),
        "contradicts": _share([supports is not None and supports != polarity for supports, polarity in named]),
        "agrees_falsely": _share([row["claims"]["agrees_falsely"] for row in held]),
        "not_shown": _share([bool(row["claims"]["not_shown"]) for row in held]),
    }
    if resamples:
        found["intervals"] = intervals(lambda at: _kept(_rates(counts[at])), len(counts), resamples)
        found["contradicting"]["intervals"] = intervals(
            lambda at: _kept(_rates(contradicting[at]) | _naming(contradicting[at])), len(contradicting), resamples
        )
    return found


def _counts(row: Mapping) -> tuple[int, ...]:
    """(true, false, missing claims, whether none is false, whether the modalities contradict, whether that is named,
    whether anything is claimed)"""
    held = row["claims"]
    stated, owed = {tuple(c) for c in held["stated"]}, {tuple(c) for c in held["owed"]}
    true, false, missing = len(stated & owed), len(false_claims(row)), len(owed - stated)
    return true, false, missing, false == 0, (AGREEMENT, NO) in owed, (AGREEMENT, NO) in stated, bool(stated or false)


def _finer_counts(row: Mapping) -> tuple[int, int, int]:
    stated, owed = ({tuple(c) for c in row["claims"][name]} for name in ("finer", "owed_finer"))
    known = {aspect for aspect, _ in owed}
    return len(stated & owed), len({c for c in stated if c[0] in known} - owed), len(owed - stated)


def _sizes(counts: np.ndarray) -> dict[str, int]:
    return {"clips": len(counts), "claiming": int(counts[:, 6].sum())}


def _rates(counts: np.ndarray) -> dict[str, float | None]:
    """f1, precision, recall and, where it is counted, no_false."""
    true, false, missing = (float(n) for n in counts[:, :3].sum(0))
    found = {
        "f1": _ratio(2 * true, 2 * true + false + missing),
        "precision": _ratio(true, true + false),
        "recall": _ratio(true, true + missing),
    }
    return found | ({"no_false": _share(counts[:, 3])} if counts.shape[1] > 3 else {})


def _naming(counts: np.ndarray) -> dict[str, float | None]:
    return {"named": _share(counts[:, 5]), "named_truly": _share(counts[:, 5] * counts[:, 3])}


def _kept(rates: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: rates[name] for name in ("f1", "no_false", "named", "named_truly") if name in rates}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _share(values: Sequence) -> float | None:
    return float(np.mean(values)) if len(values) else None
