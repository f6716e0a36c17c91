"""The score that an answer would name on average: each score of a grid, weighted by how likely the answer ends with it.

The answer's own reasoning stands before (`AnswerFormat.before_score`), and every end is counted whole, from the tag
that opens the score to the end token: so "-1" is an end of its own, and not only the beginning of "-1.5". The ends are
forwarded in one batch from the cache of the prompt and the reasoning, as a tree of tokens, since most begin alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.policy import decoder
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.prompts import answer_ids
from emsa_jax.rollout.sampler import PromptState

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

HEAD_ROWS = 256  # states whose logits exist at once


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreTree:
    """The ends of answers that name the scores of a grid, as a tree of M tokens.

    scores: [K] float64, in the range of the data, one for each end.
    tokens: [M] int32. parent: [M] int32, the token before each one, -1 for the first one of an end. depth: [M] int32,
      tokens before each one in its end. seen: [M, M] bool, the tokens of the tree that each one attends to, itself too.
    path: [K, M] bool, the tokens of each end.
    """

    scores: np.ndarray
    tokens: np.ndarray
    parent: np.ndarray
    depth: np.ndarray
    seen: np.ndarray
    path: np.ndarray

    @classmethod
    def of(cls, checkpoint: Checkpoint, format: AnswerFormat) -> ScoreTree:
        """The tree of a format. Raises ValueError for a format whose answers name no score."""
        ends = format.score_ends()
        return cls.of_ends([score for score, _ in ends], [answer_ids(checkpoint, text) for _, text in ends])

    @classmethod
    def of_ends(cls, scores: Sequence[float], ends: Sequence[Sequence[int]]) -> ScoreTree:
        """The tree of ends as token ids, the end token included."""
        if not ends:
            raise ValueError("answers of this format name no score")
        known: dict[tuple[int, ...], int] = {}  # the first tokens of an end -> the place of the last of them
        for end in ends:
            for length in range(1, len(end) + 1):
                known.setdefault(tuple(end[:length]), len(known))
        count, begins = len(known), list(known)
        seen = np.zeros((count, count), bool)
        for i, begin in enumerate(begins):
            seen[i, [known[begin[:length]] for length in range(1, len(begin) + 1)]] = True
        return cls(
            scores=np.array(scores, np.float64),
            tokens=np.array([begin[-1] for begin in begins], np.int32),
            parent=np.array([known.get(begin[:-1], -1) for begin in begins], np.int32),
            depth=np.array([len(begin) - 1 for begin in begins], np.int32),
            seen=seen,
            path=seen[[known[tuple(end)] for end in ends]],
        )

    def expectation(self, logps: np.ndarray) -> np.ndarray:
        """[..., K] log-probabilities of the ends -> [...] float64, the mean score under them, made to add up to 1."""
        logps = np.asarray(logps, np.float64)
        weights = np.exp(logps - logps.max(-1, keepdims=True))
        return (weights * self.scores).sum(-1) / weights.sum(-1)


def end_logps(
    params: dict,
    adapter: Any,
    config: ThinkerConfig,
    prompts: PromptState,
    said: Int[Array, "n g p"],
    length: Int[Array, "n g"],
    *,
    tree: ScoreTree,
) -> Float[Array, "n g k"]:
    """Log-probabilities of every end after what G answers to each of N prompts say before their scores.

    Args:
      said: [N, G, P] int32, of which the first `length` [N, G] int32 tokens count. P may be 0.

    Returns:
      [N, G, K] float32.
    """
    text, (n, g, slots) = params["text"], said.shape
    last = jnp.repeat(prompts.last, g, axis=0)
    after = jnp.repeat(prompts.next_position, g, axis=1)  # [3, N * G]
    before = [(prompts.cache, prompts.mask)]
    if slots:
        length = length.reshape(-1)
        slot = jnp.arange(slots)
        valid = slot < length[:, None]
        own = (slot[:, None] >= slot) & (valid[:, None, :] | jnp.eye(slots, dtype=bool))
        x, positions = text["embed_tokens"][said.reshape(-1, slots)], after[:, :, None] + slot
        hidden, cache = decoder.forward_after(text, adapter, config.text, x, positions, own, before)
        last = jnp.where(length[:, None] > 0, decoder.last_valid(hidden, valid), last)
        after, before = after + length, [*before, (cache, valid)]
    inner = np.unique(tree.parent[tree.parent >= 0])  # only what is followed by a token has to be forwarded
    x = jnp.broadcast_to(text["embed_tokens"][tree.tokens[inner]], (n * g, len(inner), last.shape[-1]))
    own = jnp.broadcast_to(tree.seen[np.ix_(inner, inner)], (n * g, len(inner), len(inner)))
    positions = after[:, :, None] + tree.depth[inner]
    hidden, _ = decoder.forward_after(text, adapter, config.text, x, positions, own, before)
    states = jnp.concatenate([last[:, None], hidden], 1)  # the first tokens of all ends follow `last`
    follows = np.where(tree.parent < 0, 0, 1 + np.searchsorted(inner, tree.parent))
    logps = _token_logps(states, decoder.head(text), tree.tokens, follows)
    return jnp.einsum("nm,km->nk", logps, tree.path.astype(np.float32)).reshape(n, g, -1)


def _token_logps(
    states: Float[Array, "b s d"], head: Float[Array, "v d"], tokens: Int[Array, " m"], follows: Int[Array, " m"]
) -> Float[Array, "b m"]:
    """Log-probabilities [B, M] float32 of tokens [M], each predicted from the state states[:, follows[m]] of [B, S, D].

    The sum over the vocabulary is taken once for each state, however many tokens follow it."""

    def log_sum(state: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(jnp.einsum("d,vd->v", state, head, preferred_element_type=jnp.float32))

    sums = jax.lax.map(log_sum, states.reshape(-1, states.shape[-1]), batch_size=HEAD_ROWS).reshape(states.shape[:2])
    logits = jnp.einsum("bmd,md->bm", states[:, follows], head[tokens], preferred_element_type=jnp.float32)
    return logits - sums[:, follows]


Said = list[list[list[int] | None]]  # [N][G] token ids, None where an answer has no place for a score


def said_before_scores(checkpoint: Checkpoint, format: AnswerFormat, texts: Sequence[Sequence[str]]) -> Said:
    """What the answers texts[n][g] say before their scores."""
    before = [[format.before_score(text) for text in group] for group in texts]
    return [
        [one if one is None else answer_ids(checkpoint, one, end=False) if one else [] for one in group]
        for group in before
    ]


def pack_said(said: Said, slots: int, rows: int, answers: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids [rows, answers, slots] int32, lengths [rows, answers] int32), as `end_logps` takes them.

    Of length 0 where nothing is said, there is no answer, or more is said than there are slots."""
    ids, lengths = np.zeros((rows, answers, slots), np.int32), np.zeros((rows, answers), np.int32)
    for n, group in enumerate(said):
        for g, found in enumerate(group):
            if found and len(found) <= slots:
                ids[n, g, : len(found)], lengths[n, g] = found, len(found)
    return ids, lengths


def expected_scores(tree: ScoreTree, logps: np.ndarray, said: Said, slots: int) -> np.ndarray:
    """[N, G] float64: expected scores of the first N of logps [rows, G, K]; nan where `pack_said` gave no answer."""
    known = np.array([[found is not None and len(found) <= slots for found in group] for group in said], bool)
    return np.where(known, tree.expectation(logps[: len(said)]), np.nan)
