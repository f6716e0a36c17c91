"""What a policy is shown: a clip with the policy's own question, or a chat as it stands; and what was seen of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emsa_jax.data.records import Clip
from emsa_jax.errors import InputError
from emsa_jax.policy.positions import num_audio_tokens
from emsa_jax.policy.prompt_row import Row, Visual, expand, patchify
from emsa_jax.policy.tokenizer import plain_text, render_chat
from emsa_jax.serving.opened_policy import OpenedPolicy

MEL_FRAMES = 100  # a second


@dataclass(frozen=True)
class Seen:
    """What of a request reached the policy. frames: of videos and pictures; audio_seconds: of sound; text: words."""

    frames: int = 0
    frame_rate: float = 0.0
    audio_seconds: float = 0.0
    text: str = ""

    def line(self) -> str:
        """As "32 frames, 5.1 s of sound, 7 words"."""
        parts = [f"{self.frames} frame{'s' * (self.frames != 1)}"] * bool(self.frames)
        parts += [f"{self.audio_seconds:.1f} s of sound"] * bool(self.audio_seconds)
        words = len(self.text.split())
        parts += [f"{words} word{'s' * (words != 1)}"] * bool(words)
        return ", ".join(parts) or "nothing"


@dataclass(frozen=True)
class Question:
    """A prompt with its media, and what it shows."""

    row: Row
    seen: Seen


@dataclass(frozen=True)
class Turn:
    """A message of a chat as it stands. parts: texts, and clips for media: with frames a video (one frame: a picture),
    else a sound."""

    role: str
    parts: tuple[str | Clip, ...]


def ask_about(policy: OpenedPolicy, clip: Clip) -> Question:
    """The policy's own question about a clip. Raises InputError where the policy would be shown nothing of it."""
    video, audio = policy.prompter.shows(clip)
    text = " ".join(clip.text.split()) if "text" in policy.modalities else ""
    if not (video or audio or text):
        raise InputError(_nothing_to_show(policy, clip))
    row = policy.prompter.row(clip)
    seen = Seen(
        frames=len(clip.frames) if video else 0,
        frame_rate=round(float(clip.frame_rate), 4) if video else 0.0,
        audio_seconds=len(clip.mel) / MEL_FRAMES if audio else 0.0,
        text=text,
    )
    return Question(row, seen)


def _nothing_to_show(policy: OpenedPolicy, clip: Clip) -> str:
    reads = ", ".join(policy.modalities)
    given = [("text", bool(clip.text.strip())), ("video", len(clip.frames)), ("audio", len(clip.mel))]
    found = ", ".join(name for name, there in given if there)
    return f"this policy is shown {reads}, and the clip has {found or 'neither text nor media'}; give it some of that"


def as_it_stands(policy: OpenedPolicy, turns: Sequence[Turn]) -> Question:
    """A chat as the prompt, in the policy's own template. Words cannot spell the policy's special tokens.

    Raises: InputError for media that the policy has no tower for, or that its template has no place for."""
    spell = functools.partial(plain_text, policy.checkpoint.tokenizer, policy.config)
    chat, media, texts = [], {"audio": [], "image": [], "video": []}, []
    rate = 0.0
    for turn in turns:
        content: list[dict[str, Any]] = []
        for part in turn.parts:
            if isinstance(part, str):
                content.append({"type": "text", "text": spell(part.replace("\x00", " "))})
                texts += [part] if turn.role == "user" else []
                continue
            for kind, item in _media_of(policy, part):
                content.append({"type": kind})
                media[kind].append(item)
            rate = part.frame_rate if len(part.frames) > 1 else rate
        chat.append({"role": turn.role, "content": content})
    try:
        rendered = render_chat(policy.checkpoint.tokenizer, policy.config, chat)
    except Exception as error:  # a template may refuse a chat in any way
        line = str(error).strip().split("\n")[0]
        raise InputError(f"the policy's chat template cannot render these messages ({line})") from error
    tokens = policy.checkpoint.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    tokens = expand(policy.config, tokens, media["audio"], media["image"], media["video"])
    row = Row(tokens, media["audio"], media["image"], media["video"])
    frames = sum(len(part.frames) for turn in turns for part in turn.parts if isinstance(part, Clip))
    seconds = sum(len(mel) for mel in media["audio"]) / MEL_FRAMES
    return Question(row, Seen(frames, round(float(rate), 4), seconds, "\n".join(texts)))


def _media_of(policy: OpenedPolicy, clip: Clip) -> list[tuple[str, Visual | np.ndarray]]:
    """Kind and array of the media of a clip: its frames, then its sound."""
    config, stats, found = policy.config, policy.checkpoint.preprocessor, []
    if len(clip.frames):
        if config.vision is None:
            raise InputError("this policy has no tower for pictures")
        is_video = len(clip.frames) > 1
        seconds = config.vision.temporal_patch_size / clip.frame_rate if is_video else 1.0
        visual = patchify(config, clip.frames, seconds, is_video, stats.image_mean, stats.image_std)
        found.append(("video" if is_video else "image", visual))
    if num_audio_tokens(len(clip.mel)):
        if config.audio is None:
            if not found:
                raise InputError("this policy has no tower for sound")
            return found  # the own sound of a video
        found.append(("audio", clip.mel))
    return found


def shown_prompt(policy: OpenedPolicy, row: Row) -> dict[str, Any]:
    """What the policy got: {"text": with one placeholder for each medium, "tokens": how many, "ids": all of them,
    "media": [{"kind", "first", "tokens"}]} with the places of media among the ids."""
    kinds = {
        policy.config.audio_token_id: "audio",
        policy.config.image_token_id: "image",
        policy.config.video_token_id: "video",
    }
    media, kept, last = [], [], None
    for place, id in enumerate(row.tokens):
        kind = kinds.get(id)
        if kind is None or kind != last:
            kept.append(id)
            if kind:
                media.append({"kind": kind, "first": place, "tokens": 0})
        if kind:
            media[-1]["tokens"] += 1
        last = kind
    text = policy.checkpoint.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return {"text": text, "tokens": len(row.tokens), "ids": list(map(int, row.tokens)), "media": media}
