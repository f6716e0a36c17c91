"""Reward parts of descriptions: how well their cues match those that are known of a clip, and their length."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from emsa_jax.answers.answer_format import Answer, AnswerFormat, Truth
from emsa_jax.errors import InputError
from emsa_jax.rewards.cue_matching import match, unit_vectors
from emsa_jax.rewards.reward_part import PartOptions

HASHED = 2048  # places that n-grams are hashed into
KEPT = 50_000  # vectors of sentences that are kept: answers repeat each other

Vectors = Callable[[Sequence[str]], np.ndarray]


def cue_f1(answer: Answer, truth: Truth | None, format: AnswerFormat, options: PartOptions) -> float | None:
    """EmoCue-360's F1 of the answer's cues, a mean over the kinds of which cues are known; 0 for a kind that the answer
    has none of, and for one whose F1 is below 0. None where no cues are known.

    Every cue counts once, however often it is written, and a kind's F1 holds precision and recall: neither one good
    cue nor a heap of cues earns all of it."""
    known = truth.cues if truth else ()
    if not known:
        return None
    vectors, scores = encoder(options.encoder), []
    for kind in dict.fromkeys(kind for kind, _ in known):
        sides = [[cue for of, cue in cues if of == kind] for cues in (answer.cues, known)]
        f1 = match(*map(vectors, sides))[2] if sides[0] else 0.0
        scores.append(max(0.0, f1))
    return float(np.mean(scores))


def length(answer: Answer, truth: Truth | None, format: AnswerFormat, options: PartOptions) -> float:
    """1 for a description of at most `longest` words (of Chinese, letters), falling to 0 at twice as many; 0 for what
    is none."""
    if answer.think is None:
        return 0.0
    spaces = len(answer.think.split())
    letters = sum("\u4e00" <= letter <= "\u9fff" for letter in answer.think)
    return float(np.clip(2 - (spaces + letters) / options.longest, 0.0, 1.0))


@functools.lru_cache(4)
def encoder(directory: str) -> Vectors:
    """Sentences -> vectors of length 1 [N, D] float64, by a sentence encoder's directory, or hashed n-grams for "".

    Raises: InputError naming the directory."""
    from emsa_jax.policy.sentence_encoder import read_sentence_encoder  # loads jax, which options do without

    if directory and not Path(directory).is_dir():
        raise InputError(f"reward.encoder: {directory}: no such directory; make weights makes weights/all-minilm-l6-v2")
    embed = read_sentence_encoder(directory).embed if directory else hashed_vectors
    kept: dict[str, np.ndarray] = {}

    def vectors(sentences: Sequence[str]) -> np.ndarray:
        if new := [sentence for sentence in dict.fromkeys(sentences) if sentence not in kept]:
            if len(kept) + len(new) > KEPT:
                kept.clear()
                new = list(dict.fromkeys(sentences))
            kept.update(zip(new, unit_vectors(embed(new)), strict=True))
        return np.stack([kept[sentence] for sentence in sentences])

    return vectors


def hashed_vectors(sentences: Sequence[str]) -> np.ndarray:
    """[N, `HASHED`]: how often a sentence holds each word, and each run of 2 to 5 letters; for tests and for who has no
    sentence encoder. Words that mean the same and are written otherwise are strangers to it."""
    found = np.zeros((len(sentences), HASHED))
    for row, sentence in zip(found, sentences, strict=True):
        words = sentence.casefold().split()
        text = f" {' '.join(words)} "
        pieces = [text[at : at + size] for size in (2, 3, 4, 5) for at in range(len(text) - size + 1)]
        for piece in (*words, *pieces):
            row[zlib.crc32(piece.encode("utf-8", "replace")) % HASHED] += 1
    return found
