"""How well predicted cues match reference cues: EmoCue-360's precision, recall and F1 of one clip."""

from __future__ import annotations

import numpy as np


def match(predicted: np.ndarray, gold: np.ndarray) -> tuple[float, float, float]:
    """(precision, recall, F1) of the cosines between cues (XEmoGPT, section III-E).

    Precision is the mean over predicted cues of the largest cosine to a gold cue, recall the reverse; cosines are not
    clamped, and F1 is 0 where the two do not sum to something positive.

    Args:
      predicted: [P, D] vectors, P > 0, of length 1; gold: [G, D], G > 0.
    """
    cosines = predicted @ gold.T
    precision, recall = float(cosines.max(1).mean()), float(cosines.max(0).mean())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total > 0 else 0.0


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """[N, D] float64 vectors of length 1; those of length 0 stay."""
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
