"""Faults to plant in the template teacher's answers: what a large teacher gets wrong, in several phrasings each.

The phrasings were written down before the filter was run on them, and stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emsa_jax.answers.dc import DC
from emsa_jax.answers.scores import write_score

# fault -> the check that is meant to notice it; "" if none is
MEANT = {
    "wrong polarity": "polarity",
    "wrong sign": "score_sign",
    "broken form": "parse",
    "cut off": "finished",
    "leak": "leak",
    "absent modality": "absent_modality",
    "silent on a modality": "modalities",
    "too short": "length",
    "repetition": "repetition",
    "other language": "language",
    "false observation": "",
}
LEAKS = (
    "the label says {}",
    "as the given sentiment is {}, this fits",
    "the annotation is {}",
    "we were told it is {}",
    "this matches the ground truth, {}",
    "in line with the answer key: {}",
    "the score of {} that was supplied fits",
    "it must be {}, as stated above",
    "the correct polarity is {}",
    "knowing that it is {}, the cues are clear",
)
CLAIMED = (
    "voice: low, falling",
    "the voice trembles",
    "a raised pitch can be heard",
    "the tone is flat",
    "he speaks loudly",
    "the audio sounds tired",
)
CHINESE = ("文字：不错。表情：微笑。声音：上升。三者一致。", "文字、表情和声音都指向同一种情感，程度一般。")


@dataclass(frozen=True)
class Written:
    """An answer of the teacher, how it ended, the modalities it was given, and which fault it has ("" for none)."""

    answer: str
    finish: str
    modalities: tuple[str, ...]
    fault: str


def write(trace: dict, index: int, fault: str, format: DC, rng: np.random.Generator) -> Written:
    """The teacher's trace as an answer, with a fault. Every third clip has no sound."""
    polarity, score, think, finish = trace["polarity"], trace["score"], trace["think"], "stop"
    modalities = ("text", "video") if index % 3 == 0 or fault == "absent modality" else ("text", "audio", "video")
    one, two, three, four = _parts(think)
    if "audio" not in modalities:
        three, four = "", four.replace("face and voice decide", "the face decides")
    text = " ".join(filter(None, (one, two, three, four)))
    if fault == "wrong polarity":
        polarity = str(rng.choice([p for p in ("Positive", "Neutral", "Negative") if p != polarity]))
        score = {"Positive": 1.2, "Neutral": 0.0, "Negative": -1.2}[polarity]
    elif fault == "wrong sign":
        score = -score if score else 0.6
    elif fault == "leak":
        said = str(rng.choice(LEAKS)).format(polarity.lower())
        text = f"{text} {said}." if rng.random() < 0.5 else f"{said}. {text}"
    elif fault == "absent modality":
        text = f"{text} {rng.choice(CLAIMED)}."
    elif fault == "silent on a modality":
        gone = int(rng.integers(3 if three else 2))
        text = " ".join(filter(None, [part for i, part in enumerate((one, two, three)) if i != gone] + [four]))
    elif fault == "too short":
        text = f"{rng.choice((one, two, four))}"
    elif fault == "repetition":
        text = " ".join([text] * int(rng.integers(2, 4)))
    elif fault == "other language":
        text = str(rng.choice(CHINESE))
    elif fault == "false observation":
        text = text.replace("smile", "fr*wn").replace("frown", "smile").replace("fr*wn", "frown")
        text = text.replace("level mouth", "broad smile")
    answer = format.write(polarity, text, 0.0).replace("<score>0.0<", f"<score>{write_score(score)}<")
    if fault == "broken form":
        broken = (
            answer.replace("</think>", ""),
            answer + "\nThat is my judgement.",
            answer.replace("<score>", "<score>about "),
            answer.replace("<polarity>", "<sentiment>").replace("</polarity>", "</sentiment>"),
            text,
        )
        answer = broken[int(rng.integers(len(broken)))]
    elif fault == "cut off":
        answer, finish = answer[: int(rng.integers(30, len(answer) - 10))], "length"
    return Written(answer, finish, modalities, fault)


def _parts(think: str) -> list[str]:
    """The four parts of a puppet's reasoning: words, face, voice, and how they combine."""
    starts = [think.index(f"{i}. ") for i in range(1, 5)] + [len(think)]
    return [think[a:b].strip() for a, b in zip(starts, starts[1:], strict=False)]
