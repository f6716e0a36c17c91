"""Replies as OpenAI's protocol has them, and what this server adds under the key `emsa`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from emsa_jax.serving.answer_text import AnswerText
from emsa_jax.serving.chat_request import ChatRequest
from emsa_jax.serving.engine import DrawnToken
from emsa_jax.serving.opened_policy import OpenedPolicy
from emsa_jax.serving.questions import Question, shown_prompt
from emsa_jax.serving.replies import reading_of

LEAST_LOGP = -9999.0  # in place of -inf, which is no JSON


@dataclass(frozen=True)
class ReplyWriter:
    """Writes what is sent about one request. id, created: of the reply; model: the name that clients know."""

    policy: OpenedPolicy
    request: ChatRequest
    question: Question
    id: str
    created: int
    model: str

    def whole(self, answers: Sequence[AnswerText], seconds: float, waited: float) -> dict[str, Any]:
        """The reply that is no stream."""
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": self.content(answer), "refusal": None},
                "logprobs": self._logprobs(self._shown(answer)) if self.request.logprobs else None,
                "finish_reason": answer.finish,
            }
            for i, answer in enumerate(answers)
        ]
        known = {"usage": self.usage(answers), "emsa": self.emsa(answers, seconds, waited)}
        return self._head("chat.completion") | {"choices": choices} | known

    def chunk(
        self, index: int, delta: dict[str, Any], tokens: Sequence[DrawnToken] = (), finish: str | None = None
    ) -> dict[str, Any]:
        """A chunk of a stream."""
        logprobs = self._logprobs(tokens) if self.request.logprobs and tokens else None
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._head("chat.completion.chunk") | {"choices": [choice]}

    def usage_chunk(self, answers: Sequence[AnswerText]) -> dict[str, Any]:
        """The chunk that tells how many tokens there were."""
        return self._head("chat.completion.chunk") | {"choices": [], "usage": self.usage(answers)}

    def content(self, answer: AnswerText) -> str:
        """What the answer says, or, where that is wanted, its fields as JSON."""
        if not self.request.fields:
            return answer.text
        reading = reading_of(self.policy.format.parse(answer.marked))
        return json.dumps({name: reading[name] for name in self.request.fields}, ensure_ascii=False)

    def usage(self, answers: Sequence[AnswerText]) -> dict[str, int]:
        """Tokens of the prompt, and of all answers, their end tokens included."""
        prompt, made = len(self.question.row.tokens), sum(len(answer.tokens) for answer in answers)
        return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}

    def emsa(self, answers: Sequence[AnswerText], seconds: float, waited: float) -> dict[str, Any]:
        """What a reader of the answer wants to know beside its text."""
        readings = [reading_of(self.policy.format.parse(answer.marked)) for answer in answers]
        told = readings[0] | {"score_range": list(self.policy.format.score_range), "seen": asdict(self.question.seen)}
        told |= {"seconds": round(seconds, 4), "queue_seconds": round(waited, 4)}
        if len(readings) > 1:
            told["choices"] = readings
        if self.request.show_prompt:
            told["prompt"] = shown_prompt(self.policy, self.question.row)
        return told

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _shown(self, answer: AnswerText) -> Sequence[DrawnToken]:
        """The tokens of an answer, without the end token, which has no text."""
        return answer.tokens[:-1] if answer.ended else answer.tokens

    def _logprobs(self, tokens: Sequence[DrawnToken]) -> dict[str, Any]:
        content = []
        for token in tokens:
            others = [self._token(id, logp) for id, logp in token.likeliest]
            content.append(self._token(token.id, token.logp) | {"top_logprobs": others})
        return {"content": content, "refusal": None}

    def _token(self, id: int, logp: float) -> dict[str, Any]:
        tokenizer = self.policy.checkpoint.tokenizer
        text = tokenizer.decode([id], skip_special_tokens=False) if id < len(tokenizer) else ""
        return {"token": text, "logprob": max(logp, LEAST_LOGP), "bytes": list(text.encode())}


def event(content: dict[str, Any] | str) -> str:
    """A line of a stream of server-sent events."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return f"data: {text}\n\n"
