"""A reward part of your own: a function in a file of yours; nothing of the package changes.

    python examples/own_reward.py                     shows what it pays for three answers

To train with it, put its folder into PYTHONPATH and name it: --config.reward.plugins="('own_reward:names_words',)"
"""

from collections.abc import Mapping

from emsa_jax.answers.answer_format import Answer
from emsa_jax.answers.dc import DC
from emsa_jax.data.records import Clip
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import AnswerScorer


def names_words(text: str, answer: Answer, sample: Mapping) -> float | None:
    """0.5 for reasoning that quotes a word of the clip, of at least four letters, else 0; None for a clip without
    words, for which the part does not apply. text: the whole answer. sample: id, score, text, concepts and language of
    the clip."""
    words = {word.strip(".,!?").lower() for word in sample["text"].split() if len(word) > 3}
    if not words:
        return None
    return 0.5 * any(word in words for word in (answer.think or "").lower().split())


def main() -> None:
    format = DC((-1.0, 1.0))
    score = AnswerScorer.of(format, RewardOptions(plugins=("own_reward:names_words",)))
    media = {"frames": None, "frame_rate": 0.0, "mel": None}
    clip = Clip(id="1", text="what a wonderful day", score=0.8, split="train", language="en", **media)
    reasons = ("1. words: they say wonderful", "1. words: fine", "1. face: a smile")
    answers = [format.write("Positive", reason, 0.8) for reason in reasons]
    table = score([clip], [answers])
    for reason, own, total in zip(reasons, table.parts["names_words"][0], table.total[0], strict=True):
        print(f"{total:.1f} in all, {own:.1f} for its words: {reason}")


if __name__ == "__main__":
    main()
