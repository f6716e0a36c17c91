"""What is forced on hard groups, by answer format."""

from dataclasses import replace

import numpy as np
import pytest

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.labels import POLARITIES
from emsa_jax.data.records import Entry
from emsa_jax.errors import InputError
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rollout.hint_tokens import Hints
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.prompts import Prompter, answer_ids, answer_text
from emsa_jax.rollout.rollout_options import PromptOptions
from emsa_jax.settings.config import Config
from emsa_jax.settings.presets import PRESETS, cd_grpo, cd_grpo_hint

CONCEPTS = (("expression", "sad"), ("speaking_style", "Informational Interaction"), ("tone", "casual"))
ENTRIES = [Entry(str(i), "words", score, "train", language, 0, 0, 0, 0.0, 0, concepts=concepts)
           for i, (score, language, concepts) in enumerate(
               [(-0.8, "en", CONCEPTS), (0.2, "zh", CONCEPTS), (None, "en", CONCEPTS), (0.4, "en", CONCEPTS[:1]),
                (-0.8, "en", CONCEPTS)])]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny") / "policy"
    format = make_format("concepts", (-1, 1), concepts=ConceptOptions(5))
    truths = [format.truth(replace(entry, score=entry.score or 0.0)) for entry in ENTRIES]
    texts = [format.example(truth, level) for truth in truths for level in format.levels]
    make_tiny(directory, texts * 3, seed=0, vocab_size=420)
    return open_checkpoint(directory, weights=False)


def hints_of(checkpoint, config):
    format = make_format(config.format, (-1, 1), concepts=config.concepts)
    prompter = Prompter(checkpoint, format, PromptOptions())
    return Hints.of(config, checkpoint, Split(None, prompter, ENTRIES, None, None, None)), format


@pytest.mark.parametrize("level", ["sentiment", "sentiment+concepts"])
def test_each_clip_is_hinted_at_its_truth(checkpoint, level):
    config = cd_grpo_hint()
    config = replace(config, hint=replace(config.hint, levels=level), concepts=ConceptOptions(5))
    hints, format = hints_of(checkpoint, config)
    assert len(hints.rows) == 3 and hints.trigger.limit == 1.0  # equal truths share a row
    ids, lengths = hints.forced(ENTRIES)
    assert lengths[2] == 0 and lengths.dtype == ids.dtype == np.int32
    for entry, row, length in zip(ENTRIES, ids, lengths, strict=True):
        if entry.score is not None:
            truth = format.truth(entry)
            assert answer_text(checkpoint, row[:length], ended=False) == format.hint(truth, level)
            assert answer_ids(checkpoint, format.example(truth, level), end=False)[:length] == row[:length].tolist()
    shapes = hints.forced_like(len(ENTRIES))
    assert [a.shape for a in shapes] == [a.shape for a in (ids, lengths)]


def test_without_hints_nothing_is_forced(checkpoint):
    hints, _ = hints_of(checkpoint, cd_grpo())
    ids, lengths = hints.forced(ENTRIES)
    assert not lengths.any() and ids.shape == (5, 1)


def test_dc_answers_begin_with_their_polarity(checkpoint):
    hints, format = hints_of(checkpoint, Config(policy="", data=""))
    ids, lengths = hints.forced(ENTRIES)
    for entry, row, length in zip(ENTRIES, ids, lengths, strict=True):
        if entry.score is not None:
            polarity = POLARITIES[0] if entry.score > 0 else POLARITIES[2]
            hint = answer_text(checkpoint, row[:length], ended=False)
            assert hint == format.hint(format.truth(entry), "polarity") and polarity in hint
    assert lengths[2] == 0 and hints.trigger.limit == 2.0


def test_a_hint_that_leaves_no_room_is_refused(checkpoint):
    config = cd_grpo_hint()
    config = replace(config, sampling=replace(config.sampling, max_completion_length=8))
    with pytest.raises(InputError, match="a hint alone has"):
        hints_of(checkpoint, config)


def test_scoring_knows_what_was_given_and_how_frequent_classes_are():
    config = cd_grpo_hint()
    config = replace(config, reward=replace(config.reward, class_balance="inverse"))
    format = make_format("concepts", (-1, 1))
    answer = format.example(format.truth(ENTRIES[0]), "sentiment")
    score_answers = AnswerScorer.of(format, config.reward, ENTRIES, config.hint.levels)
    table = score_answers(ENTRIES[:1], [[answer, answer]], unpaid=np.array([[True, False]]))
    weight = 4 / (3 * 2)  # two of four labelled clips are negative
    np.testing.assert_allclose(table.total, [[1, 1 + weight + 1]])


def test_presets_hold_the_papers_numbers():
    for name in ("cd_grpo", "cd_grpo_hint"):
        config = PRESETS[name]()
        optimizer = config.grpo.optimizer
        assert (config.grpo.group_size, config.grpo.epochs, config.grpo.prompts_per_step) == (4, 3, 64)
        assert (config.sampling.temperature, config.sampling.top_p) == (1.1, 0.93)
        assert (config.loss.beta, config.loss.kind, config.dtype) == (0.04, "grpo", "bfloat16")
        assert (optimizer.learning_rate, optimizer.clip_norm) == (1e-6, 0.1) and optimizer.weight_decay > 0
        assert (config.format, config.dataset) == ("concepts", "ch_cems")
        assert set(config.reward.weights.values()) == {1.0} and config.reward.partial_credit == 0
    assert cd_grpo().hint.mode == "off" and cd_grpo_hint().hint.mode == "hint"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "class_only"}, "class_only answers have nothing to hint at"),
        ({"format": "dc"}, "format=dc know polarity, not 'sentiment\\+concepts'"),
        ({"hint": {"levels": "polarity"}}, "know sentiment, sentiment\\+concepts, not 'polarity'"),
        ({"hint": {"polarity_nll": 0.1}}, "polarity_nll"),
        ({"hint": {"metric": "total"}, "reward": {"class_balance": "inverse"}}, "hint.metric=accuracy"),
        ({"sft": {"targets": "labels"}}, "sft.targets"),
    ],
)
def test_combinations_that_cannot_work_are_refused(change, message):
    config = cd_grpo_hint()
    with pytest.raises(InputError, match=message):
        replace(
            config,
            **{
                name: replace(getattr(config, name), **value) if isinstance(value, dict) else value
                for name, value in change.items()
            },
        )
