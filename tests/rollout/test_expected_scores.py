"""Expected scores beside the sum over all ends, each run whole and on its own."""

import functools

import jax
import numpy as np
import pytest

from emsa_jax.answers.formats import make_format
from emsa_jax.rollout.expected_scores import ScoreTree, end_logps, expected_scores, pack_said, said_before_scores

QUICK = {"xla_backend_optimization_level": "0"}
ENDS = [[5, 6, 1], [5, 6, 7, 1], [5, 1], [8, 6, 7, 1], [8, 9, 10, 11, 1], [1]]  # some begin as others do; 1 ends
SCORES = [-1.0, -1.5, -0.5, 0.0, 2.5, 3.0]
SAID = [[[4, 4, 12], [13]], [[], [14, 15, 16, 4]], [[6, 7], [5, 6, 7]], [[4], [4, 5]]]  # [N][G] token ids


@pytest.fixture(scope="module")
def tree():
    return ScoreTree.of_ends(SCORES, ENDS)


def packed(said, slots):
    ids = np.zeros((len(said), len(said[0]), slots), np.int32)
    for n, group in enumerate(said):
        for g, tokens in enumerate(group):
            ids[n, g, : len(tokens)] = tokens
    return ids, np.array([[len(tokens) for tokens in group] for group in said], np.int32)


def enumerated(world, n, tokens):
    """[K]: log-probabilities of the ends after a prompt and the tokens, by whole forward passes."""
    slots = world.slots
    rows = [(tokens + end + [0] * slots)[:slots] for end in ENDS]
    logits = np.broadcast_to(np.array(rows, np.int32), (world.rows, len(ENDS), slots))
    logps = np.asarray(jax.nn.log_softmax(world.logits(logits)[n]))
    return np.array(
        [sum(logps[k, len(tokens) + i, token] for i, token in enumerate(end)) for k, end in enumerate(ENDS)]
    )


@pytest.mark.parametrize("slots", [0, 6])
def test_every_end_is_as_likely_as_by_itself(world, tree, slots):
    said = SAID if slots else [[[]]] * 4
    run = functools.partial(end_logps, world.params, world.adapter, world.config, tree=tree)
    found = np.asarray(jax.jit(run, compiler_options=QUICK)(world.state, *packed(said, slots)))
    assert found.shape == (4, len(said[0]), len(ENDS))
    for n, group in enumerate(said):
        for g, tokens in enumerate(group):
            np.testing.assert_allclose(found[n, g], enumerated(world, n, tokens), atol=2e-5)
            whole = np.exp(enumerated(world, n, tokens).astype(np.float64))
            assert tree.expectation(found)[n, g] == pytest.approx(whole @ SCORES / whole.sum(), abs=1e-5)


def test_ends_that_begin_alike_share_their_tokens(tree):
    assert len(tree.tokens) == 15 < sum(map(len, ENDS)) and tree.path.sum(1).tolist() == [len(end) for end in ENDS]
    for end, path in zip(ENDS, tree.path, strict=True):
        nodes = np.flatnonzero(path)[np.argsort(tree.depth[path])]
        assert tree.tokens[nodes].tolist() == end and tree.parent[nodes].tolist() == [-1, *nodes[:-1].tolist()]
        assert [np.flatnonzero(tree.seen[node]).tolist() for node in nodes] == [
            sorted(nodes[: i + 1].tolist()) for i in range(len(nodes))
        ]
    with pytest.raises(ValueError, match="name no score"):
        ScoreTree.of_ends([], [])


class Letters:
    """A checkpoint whose tokenizer has a token for each character."""

    class config:
        eos_token_id = 1

    @staticmethod
    def tokenizer(text, add_special_tokens):
        return {"input_ids": [ord(c) for c in text]}


@pytest.mark.parametrize("name", ["label_only", "dc", "think_first"])
def test_ends_are_those_that_answers_have(name):
    """Of every format with a score: what stands before it and one of the ends make an answer of that score."""
    format = make_format(name, (-3.0, 3.0))
    ends = dict(format.score_ends())
    assert len(ends) == 61 and list(ends) == sorted(ends) and ends.keys() >= {-3.0, -1.5, 0.0, 3.0}
    before = format.before_score(format.write("Positive", "A clear voice.", 1.2))
    for score, end in ends.items():
        answer = format.parse(before + end)
        assert answer.well_formed and answer.score == score
    said = said_before_scores(Letters, format, [[before + "<score>9", before]])
    assert said == [[[ord(c) for c in before], [] if name == "label_only" else None]]
    ids, lengths = pack_said(said, 99, 2, 2)
    assert ids.shape == (2, 2, 99) and lengths.tolist() == [[len(before), 0], [0, 0]]
    assert ids[0, 0, : len(before)].tolist() == said[0][0]
    carried = format.for_range((-1.0, 1.0))
    assert [end for _, end in carried.score_ends()] == list(ends.values())
    assert carried.score_ends()[-1][0] == 1.0


@pytest.mark.parametrize(
    "text", ["", "<score>1", "<think>a</think>\n<score>1</score>", "<polarity>Positive</polarity>"]
)
def test_no_place_for_a_score(text):
    format = make_format("dc", (-3.0, 3.0))
    assert format.before_score(text) is None
    good = format.write("Positive", "a", 1.0)
    assert format.before_score(good + text) in (None, good[: good.index("<score>")])
    assert format.before_score(good.replace("a<", "<score>a<")) is None


def test_what_has_no_place_for_a_score_has_none(tree):
    logps = np.log(np.full((3, 2, len(ENDS)), 0.5))
    found = expected_scores(tree, logps, [[[], None], [[4] * 7, [4] * 6]], 6)  # three rows, one of them for no answer
    np.testing.assert_allclose(found, [[np.mean(SCORES), np.nan], [np.nan, np.mean(SCORES)]])


def test_formats_without_scores():
    format = make_format("class_only", (-1.0, 1.0))
    assert format.score_ends() == () and format.before_score("Positive") is None
    answer = format.parse("Positive")
    assert format.with_score(answer, 1.0) is answer
