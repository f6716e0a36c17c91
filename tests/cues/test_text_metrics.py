"""BLEU and CIDEr-D against pycocoevalcap 1.2, `Bleu(4)` and `Cider()` on the same words joined by spaces."""

import pytest

from emsa_jax.cues.text_metrics import text_metrics, words

NAMES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider_d")
CASES = {
    "English": (
        {"a": "A man frowns and looks down.", "b": "The voice is loud, the man is angry!", "c": "She smiles."},
        {
            "a": ["The man frowns. He looks down."],
            "b": ["His voice is loud and he is angry.", "The man is angry."],
            "c": ["A woman smiles and nods to the man."],
        },
        (0.5154669590287959, 0.43676471409625456, 0.34008329869949017, 0.24110231141880864, 2.582911360092607),
    ),
    "Chinese": (
        {"a": "男子皱着眉头，语速缓慢。", "b": "她很高兴"},
        {"a": ["男子皱眉，他的语速很慢。"], "b": ["她看起来很高兴。"]},
        (0.6341639439850683, 0.4618102846507364, 0.32531046252945917, 4.31703182998842e-05, 3.1441258979790168),
    ),
    "a text that is missing": (
        {"b": "x"},
        {"a": ["a b c d e"], "b": ["x"]},
        (0.0067379469856096216, 6.737946988978591e-06, 6.737946990101585e-07, 2.1307259243972606e-07, 1.25),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_evaluation_of_captions(name):
    found, references, wanted = CASES[name]
    assert text_metrics(found, references) == pytest.approx(dict(zip(NAMES, wanted, strict=True)), rel=1e-12)


def test_words_of_both_languages():
    assert words("She's 25, 她很高兴！ Ça_va") == ["she", "s", "25", "她", "很", "高", "兴", "ça", "va"]


def test_nothing_to_compare_with():
    assert text_metrics({"a": "x"}, {}) == dict.fromkeys(NAMES)
    assert text_metrics({}, {"a": ["x"]})["bleu_1"] == pytest.approx(0, abs=1e-5)
