"""BLEU-1 to 4 (Papineni et al. 2002) and CIDEr-D (Vedantam et al. 2015) of descriptions, as captions are scored.

Arithmetic as in the evaluation code of COCO captions: BLEU over the whole set with the closest reference length,
CIDEr-D with document frequencies of the references at hand and a Gaussian penalty on length. Words are lower case
without punctuation; of Chinese and Japanese each character is a word, so no library of segmentation is asked.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

ORDERS = 4
TINY, SMALL = 1e-15, 1e-9  # against division by zero, as there
SIGMA = 6.0  # of CIDEr-D's penalty, in bigrams
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def words(text: str) -> list[str]:
    """The words of a text in any language."""
    return _WORD.findall(text.lower())


def text_metrics(found: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float | None]:
    """{"bleu_1" to "bleu_4", "cider_d"} of texts against the references of the same clips; None without clips.

    A clip of `references` that is not found counts as an empty text. CIDEr-D is in tens, as captions' tables have it
    before they multiply by 100; with fewer than two clips every word is in each of them, and it is 0.
    """
    if not references:
        return dict.fromkeys([*(f"bleu_{n}" for n in range(1, ORDERS + 1)), "cider_d"])
    texts = [words(found.get(clip, "")) for clip in references]
    refs = [[words(reference) for reference in listed] for listed in references.values()]
    scores = {f"bleu_{n}": value for n, value in enumerate(bleu(texts, refs), 1)}
    return scores | {"cider_d": cider_d(texts, refs)}


def bleu(texts: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """BLEU-1 to 4 of a whole set: texts [N] of words, references [N] of any number of them."""
    right, guessed = [0] * ORDERS, [0] * ORDERS
    length = closest = 0
    for text, refs in zip(texts, references, strict=True):
        length += len(text)
        closest += min((abs(len(ref) - len(text)), len(ref)) for ref in refs)[1]
        counts, most = _ngrams(text), Counter()
        for ref in refs:
            most |= _ngrams(ref)
        for ngram, count in counts.items():
            guessed[len(ngram) - 1] += count
            right[len(ngram) - 1] += min(count, most[ngram])
    ratio = (length + TINY) / (closest + SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for n in range(ORDERS):
        product *= (right[n] + TINY) / (guessed[n] + SMALL)
        scores.append(product ** (1 / (n + 1)) * penalty)
    return scores


def cider_d(texts: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float:
    """CIDEr-D, the mean over texts. Arguments as in `bleu`."""
    frequency = Counter(ngram for refs in references for ngram in {n for ref in refs for n in _ngrams(ref)})
    total, documents = 0.0, math.log(len(references))

    def weighted(text: Sequence[str]) -> tuple[list[dict], list[float], int]:
        """(weights, norm) of the n-grams of each order, and the number of bigrams."""
        vectors: list[dict] = [{} for _ in range(ORDERS)]
        for ngram, count in _ngrams(text).items():
            vectors[len(ngram) - 1][ngram] = count * (documents - math.log(max(1, frequency[ngram])))
        return vectors, [math.sqrt(sum(w * w for w in v.values())) for v in vectors], max(len(text) - 1, 0)

    for text, refs in zip(texts, references, strict=True):
        found, norms, length = weighted(text)
        score = 0.0
        for ref in refs:
            wanted, ref_norms, ref_length = weighted(ref)
            penalty = math.exp(-((length - ref_length) ** 2) / (2 * SIGMA**2))
            for n in range(ORDERS):
                shared = sum(min(w, wanted[n].get(g, 0.0)) * wanted[n].get(g, 0.0) for g, w in found[n].items())
                both = norms[n] * ref_norms[n]
                score += penalty * (shared / both if both else shared)
        total += 10 * score / ORDERS / len(refs)
    return total / len(texts)


def _ngrams(text: Sequence[str]) -> Counter:
    return Counter(tuple(text[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(text) - n + 1))
