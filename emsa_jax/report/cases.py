"""Cases for the browser of a page: what was asked, what is true, and what each policy answered."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from emsa_jax.evaluation.explanations import false_claims
from emsa_jax.json_file import finite_json
from emsa_jax.report.page import jpeg_uri, sound_uri

FRAMES, FRAME_HEIGHT, PLAYED_SECONDS, PEAKS = 8, 88, 20, 160  # of a case, at most; pages are mailed around
KINDS = ("right", "wrong", "fixed", "broken", "hard", "rescued", "false claim", "unparsed", "has media")

Rows = Mapping[str, Sequence[Mapping]]  # who answered -> predictions


def make_cases(data: str, answered: Rows, before: str, after: str, language: str = "") -> list[dict]:
    """One case a clip of a data set, in the order of the last policy's predictions.

    before, after: of `answered`, whose answers are compared. A case is "right" or "wrong" by the last policy's
    polarity (or class); "fixed" or "broken" between the two; "hard" where the cold start's sampled answers all failed,
    and "rescued" if its answer was wrong before and is right after; "false claim" where the last answer claims what is
    known to be false; "unparsed" where it could not be read.
    """
    tables = {who: {row["id"]: row for row in rows} for who, rows in answered.items()}
    cases = []
    for row in answered[after]:
        answers = [_answer(who, table[row["id"]]) for who, table in tables.items() if row["id"] in table]
        was, now = (_right(tables[who].get(row["id"])) for who in (before, after))
        about = row.get("about") or {}
        hard = about.get("hardness") == "hard"
        kinds = {
            "right": now is True,
            "wrong": now is False,
            "fixed": was is False and now is True,
            "broken": was is True and now is False,
            "hard": hard,
            "rescued": hard and was is False and now is True,
            "false claim": bool(false_claims(row)),
            "unparsed": _polarity(row) is None,
        }
        truth = _truth(row)
        truth_text = truth if row.get("target") is None else f"{truth} {row['target']:+.2f}"
        facts = [data, *(f"{value}" for kind, value in about.items() if kind not in ("hardness", "speaker"))]
        cases.append(
            {
                "id": row["id"],
                "data": data,
                "text": (row.get("text") or "").strip(),
                "language": language,
                "truth": truth,
                "told": truth_text,
                "facts": facts,
                "answers": answers,
                "kinds": [kind for kind, applies in kinds.items() if applies],
            }
        )
    return cases


def numbered(cases: list[dict], with_media: Mapping[tuple[str, str], object]) -> list[dict]:
    """The cases with a number each, those with media first and marked as such; with_media: by (data, id)."""
    kinds = [case["kinds"] + ["has media"] * ((case["data"], case["id"]) in with_media) for case in cases]
    marked = [case | {"kinds": kind} for case, kind in zip(cases, kinds, strict=True)]
    return [case | {"n": n} for n, case in enumerate(sorted(marked, key=lambda case: "has media" not in case["kinds"]))]


def choose_media(cases: Sequence[Mapping], most: int) -> list[tuple[str, str]]:
    """(data, id) of the cases to show with media: what changed and what is hard first, then an even spread."""
    rank = {"rescued": 0, "fixed": 0, "broken": 0, "hard": 1, "wrong": 2}
    ordered = sorted(range(len(cases)), key=lambda i: min([rank.get(k, 3) for k in cases[i]["kinds"]], default=3))
    head = ordered[: most // 2]
    rest = sorted(set(range(len(cases))) - set(head))
    spread = [rest[int(i)] for i in np.linspace(0, len(rest) - 1, min(most - len(head), len(rest))).round()]
    return [(cases[i]["data"], cases[i]["id"]) for i in sorted({*head, *spread})]


def media_of(frames: np.ndarray, pcm: np.ndarray, rate: int) -> dict:
    """What is seen and heard of a clip: frames uint8 [F, H, W, 3], pcm int16 [n] -> JSON values."""
    chosen = (
        frames[np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int)] if len(frames) else []
    )
    played = pcm[: PLAYED_SECONDS * rate]
    blocks = [
        np.abs(block.astype(np.int32)).max()
        for block in np.array_split(played, min(PEAKS, len(played)) or 1)
        if len(block)
    ]
    loudest = max([1, *blocks])
    return {
        "frames": [jpeg_uri(frame, FRAME_HEIGHT) for frame in chosen],
        "sound": sound_uri(played, rate, "MP3") if len(played) else "",
        "wave": [int(round(100 * int(peak) / loudest)) for peak in blocks],
        "seconds": len(played) / rate,
    }


def embedded(id: str, value: object) -> Markup:
    """JSON as a block of data in the page: nothing in it can end the block, and nothing in it runs. Numbers that are
    not finite, which a browser could not read, are null."""
    text = (
        json.dumps(finite_json(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        .encode("utf-8", "replace")
        .decode()
    )
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup('<script type="application/json" id="{}">{}</script>\n').format(id, Markup(text))


def _answer(who: str, row: Mapping) -> dict:
    polarity, score = _polarity(row), row.get("score")
    verdict = "unparsed" if polarity is None else polarity if score is None else f"{polarity} {score:+.2f}"
    reward = (row.get("rewards") or {}).get("total")
    return {"who": who, "verdict": verdict, "right": _right(row), "reward": reward, "text": row.get("answer")}


def _polarity(row: Mapping) -> str | None:
    return row["label"] if "label" in row else row.get("polarity")


def _truth(row: Mapping) -> str:
    return (row.get("target_label") if "label" in row else row.get("target_polarity")) or "unlabelled"


def _right(row: Mapping | None) -> bool | None:
    if row is None or _truth(row) == "unlabelled":
        return None
    return _polarity(row) == _truth(row)
