"""Tokens become text as they arrive, up to where a client wants the answer to stop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.rollout.prompts import answer_text
from emsa_jax.serving.engine import Delivery, DrawnToken

_PARTIAL = "\ufffd"  # a character of which some bytes are still to come


class AnswerText:
    """One answer as it grows.

    Attributes:
      tokens: all that were drawn, with the end token last if `ended`.
      finish: "" while it grows; then "stop" or "length".
    """

    def __init__(self, checkpoint: Checkpoint, stop: Sequence[str] = ()) -> None:
        """stop: texts before which the answer ends."""
        self._checkpoint, self._stop = checkpoint, tuple(stop)
        self.tokens: list[DrawnToken] = []
        self.ended, self.finish, self._sent, self._text = False, "", 0, ""

    @property
    def text(self) -> str:
        """What the answer says so far."""
        return self._text.removesuffix("\x00")

    @property
    def marked(self) -> str:
        """The same, with the null byte behind an answer that is not to be taken for a clean one (`answer_text`)."""
        return self._text

    def add(self, delivery: Delivery) -> str:
        """Takes new tokens, and returns the text that they add; text that may still change is held back."""
        if self.finish:
            return ""
        self.tokens += delivery.tokens
        self.ended = delivery.ended
        ids = np.array([token.id for token in self.tokens], np.int64)
        self._text = answer_text(self._checkpoint, ids, self.ended)
        found = [at for stop in self._stop if (at := self.text.find(stop)) >= 0]
        if found:
            self._text, self.finish = self._text[: min(found)], "stop"
        elif delivery.done:
            self.finish = "stop" if delivery.ended else "length"
        text, end = self.text, len(self.text)
        if not self.finish:
            end -= len(text) - len(text.rstrip(_PARTIAL))
            end = min([end, *(_begun(text, stop) for stop in self._stop)])
        new = text[self._sent : end] if end > self._sent else ""
        self._sent = max(self._sent, end)
        return new


def _begun(text: str, stop: str) -> int:
    """Where a stop text may have begun at the end of a text; the text's length where it has not."""
    most = min(len(stop) - 1, len(text))
    return next((len(text) - n for n in range(most, 0, -1) if text.endswith(stop[:n])), len(text))
