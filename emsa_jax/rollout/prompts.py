"""Clips become prompts: the rendered chat, its token ids, the media and their shapes. NumPy and the tokenizer only."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from emsa_jax.answers.answer_format import AnswerFormat, Truth
from emsa_jax.answers.instructions import Instructions, read_instructions
from emsa_jax.answers.messages import messages
from emsa_jax.data.length_buckets import choose_buckets
from emsa_jax.data.records import Clip, Entry
from emsa_jax.errors import InputError
from emsa_jax.parallel.batch_sharding import SINGLE_PROCESS, BatchSharding
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.policy.inputs import InputShape, PromptInputs, build_inputs, chunk_frames, join_inputs
from emsa_jax.policy.positions import Grid, num_audio_tokens
from emsa_jax.policy.prompt_row import ASKS, Row, Visual, expand, patchify
from emsa_jax.policy.tokenizer import all_commands, plain_text, render_chat
from emsa_jax.rollout.encodings import TowerEncoder
from emsa_jax.rollout.rollout_options import PromptOptions
from emsa_jax.rollout.sampler import Completions


@dataclass(frozen=True)
class Prompter:
    """Makes prompts of one answer format for one policy. language: to ask in (default: each clip's own). encoder: of
    the clips' media, where the towers are frozen; then inputs hold their states."""

    checkpoint: Checkpoint
    format: AnswerFormat
    options: PromptOptions
    language: str = ""
    encoder: TowerEncoder | None = None

    def __post_init__(self) -> None:
        config, used = self.checkpoint.config, self.options.modalities
        for modality, tower in (("video", config.vision), ("audio", config.audio)):
            if modality in used and tower is None:
                left = ",".join(m for m in used if m != modality)
                raise InputError(
                    f"prompt.modalities holds {modality}, but {self.checkpoint.directory} has no tower for it: "
                    f"say config.prompt.modalities={left}"
                )

    def row(self, clip: Clip) -> Row:
        """The prompt of a clip with its media; each placeholder stands as often as its medium has tokens."""
        config, stats = self.checkpoint.config, self.checkpoint.preprocessor
        video, audio = self.shows(clip)
        videos = []
        if video:
            seconds = config.vision.temporal_patch_size / clip.frame_rate
            if self.encoder:  # which reads the frames itself
                grid = Grid(*config.vision.grid(*clip.frames.shape[:3]), seconds)
                videos = [Visual(np.zeros((0, 0), np.float32), grid)]
            else:
                videos = [patchify(config, clip.frames, seconds, True, stats.image_mean, stats.image_std)]
        audios = [clip.mel] if audio else []
        interleaved = bool(self.options.audio_in_video and videos and audios)
        asks = asks_of(clip)
        tokens = self._tokens(clip.text, clip.language, video, audio, interleaved, asks)
        tokens = expand(config, tokens, audios, (), videos, interleaved)
        return Row(tokens, audios, [], videos, interleaved, ASKS.index(asks))

    def length(self, entry: Entry) -> int:
        """The number of prompt tokens of a prepared clip, from its index entry alone."""
        video, audio = self._modalities(entry.num_frames, entry.mel_frames)
        interleaved = bool(self.options.audio_in_video and video and audio)
        tokens = len(self._tokens(entry.text, entry.language, video, audio, interleaved, asks_of(entry)))
        bridge = self.checkpoint.config.vision_bridge
        if video and bridge and entry.num_frames > bridge.positions:
            raise InputError(
                f"clip {entry.id!r} has {entry.num_frames} frames, but the policy's bridge has {bridge.positions} "
                "positions for them; prepare with fewer (prepare.num_frames)"
            )
        if video:
            tokens += self._grid(entry).num_tokens(self.checkpoint.config) - 1
        if audio:
            tokens += num_audio_tokens(entry.mel_frames) - 1 + 3 * interleaved
        return tokens

    def input_shape(self, entries: Sequence[Entry], rows: int, prompt: int, repeated: bool = False) -> InputShape:
        """The shape that holds any `rows` of the clips, with prompts of at most `prompt` tokens.

        repeated: whether a clip may be among them more than once. If not, one clip with much media takes its own place
        in the shape, and not that of every other clip.
        """
        grids = [self._grid(e) for e in entries if self._modalities(e.num_frames, e.mel_frames)[0]]
        mels = [e.mel_frames for e in entries if self._modalities(e.num_frames, e.mel_frames)[1]]
        patch_row = max((g.h * g.w for g in grids), default=0)

        def most(sizes: list[int]) -> int:
            return rows * max(sizes, default=0) if repeated else sum(heapq.nlargest(rows, sizes))

        audio = self.checkpoint.config.audio
        chunks = most([-(-mel // (2 * audio.n_window)) for mel in mels])
        patch_rows = most([-(-g.t // (patch_row // (g.h * g.w))) for g in grids])
        encoded, frames = self.encoder.dtype if self.encoder else "", chunk_frames(self.checkpoint.config, mels)
        return InputShape(prompt, chunks, patch_rows, patch_row, frames, encoded)

    def inputs(
        self, clips: Sequence[Clip], shape: InputShape, batch_size: int, sharding: BatchSharding = SINGLE_PROCESS
    ) -> PromptInputs:
        """The inputs of `batch_size` prompts: a whole batch, or the rows of it that this process holds.

        Where there are fewer clips, prompts without media fill the batch up. The rows of each shard are packed
        separately, each into `shape`.
        """
        rows = [self.row(clip) for clip in clips]
        filler = Row(self._tokens("", clips[0].language if clips else "en", False, False, False))
        rows += [filler] * (batch_size - len(rows))
        size = batch_size // sharding.local_shards
        inputs = join_inputs(
            [
                build_inputs(self.checkpoint.config, rows[i * size : (i + 1) * size], shape)
                for i in range(sharding.local_shards)
            ],
            sharding.num_shards,
        )
        return self.encoder.fill(inputs, self, clips, sharding.local_shards) if self.encoder else inputs

    def shows(self, clip: Clip) -> tuple[bool, bool]:
        """Whether the prompt of a clip has its video, and its audio."""
        return self._modalities(len(clip.frames), len(clip.mel))

    def _modalities(self, frames: int, mel_frames: int) -> tuple[bool, bool]:
        """Whether the prompt has the clip's video, and its audio."""
        used = self.options.modalities
        return ("video" in used and frames > 0), ("audio" in used and num_audio_tokens(mel_frames) > 0)

    def _grid(self, entry: Entry) -> Grid:
        return Grid(*self.checkpoint.config.vision.grid(entry.num_frames, entry.height, entry.width))

    @functools.cached_property
    def _instructions(self) -> Instructions:
        return read_instructions(self.options.instructions)

    def _tokens(
        self, text: str, language: str, video: bool, audio: bool, interleaved: bool, asks: str = ASKS[0]
    ) -> list[int]:
        spoken = text if "text" in self.options.modalities else ""
        if self.options.capitals == "lowered" and spoken.isupper():
            spoken = spoken.lower()
        spell = functools.partial(plain_text, self.checkpoint.tokenizer, self.checkpoint.config)
        language, given = self.language or language, {"asks": asks, "instructions": self._instructions}
        chat = messages(self.format, spoken, language, video, audio, spell, **given)
        if interleaved:  # the sound comes with the video's placeholder
            chat[-1]["content"] = [part for part in chat[-1]["content"] if part["type"] != "audio"]
        return self.checkpoint.tokenizer(
            render_chat(self.checkpoint.tokenizer, self.checkpoint.config, chat), add_special_tokens=False
        )["input_ids"]


def asks_of(item: Clip | Entry) -> str:
    """What is asked about a clip, one of `prompt_row.ASKS` (`rollout.asked`)."""
    return getattr(item, "asks", ASKS[0])


def prompt_buckets(lengths: Sequence[int], options: PromptOptions, least: int = 1) -> tuple[int, ...]:
    """The compiled prompt lengths, rising: as asked for, else chosen, each for `least` prompts or more.

    Raises: InputError if a prompt is longer than the largest that is asked for.
    """
    if not options.buckets:
        return choose_buckets(lengths, least)
    if (longest := max(lengths)) > max(options.buckets):
        raise InputError(
            f"prompt.buckets: the longest prompt has {longest} tokens, but the largest bucket is {max(options.buckets)}"
        )
    return tuple(sorted(options.buckets))


def answer_ids(checkpoint: Checkpoint, text: str, end: bool = True) -> list[int]:
    """Token ids of an answer as the policy is to write it, the end token included."""
    ids = checkpoint.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids + [checkpoint.config.eos_token_id] if end else ids


def answer_text(checkpoint: Checkpoint, tokens: np.ndarray, ended: bool) -> str:
    """What a completion says: tokens [length] with the end token last if `ended`. Other special tokens stay visible.
    A null byte at the end says that there are such, or ids that no token has (vocabularies are padded): the answer is
    not to be taken for a clean one."""
    ids = np.asarray(tokens[:-1] if ended else tokens)
    known = ids < len(checkpoint.tokenizer)
    clean = known & ~np.isin(ids, list(all_commands(checkpoint.tokenizer, checkpoint.config)))
    text = checkpoint.tokenizer.decode(ids[known], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text if clean.all() else text + "\x00"


def answer_texts(checkpoint: Checkpoint, answers: Completions, rows: int) -> list[list[str]]:
    """The answers of the first `rows` prompts as text, [rows][G]. Host arrays."""
    return [
        [
            answer_text(checkpoint, answers.tokens[n, g, : answers.length[n, g]], bool(answers.ended[n, g]))
            for g in range(answers.tokens.shape[1])
        ]
        for n in range(rows)
    ]


def hint_ids(checkpoint: Checkpoint, format: AnswerFormat, truths: Iterable[Truth], level: str) -> dict[str, list[int]]:
    """Text of a hint -> its ids, for the truths that can be given.

    Raises: InputError where they are not the first ids of an answer that begins so: then training on whole answers and
    sampling after a hint would see different tokens.
    """
    found = {}
    for truth in truths:
        hint = format.hint(truth, level)
        if hint in found:
            continue
        ids = answer_ids(checkpoint, hint, end=False)
        if answer_ids(checkpoint, format.example(truth, level), end=False)[: len(ids)] != ids:
            raise InputError(
                f"hint.levels: {hint!r} is not how the tokenizer lets an answer begin; "
                "a hint has to end where a token ends (for DC answers: with the line break)"
            )
        found[hint] = ids
    return found


def label_tokens(checkpoint: Checkpoint, hint: str, label: str) -> list[bool]:
    """Which tokens of a hint spell the name of the label; a token that also holds a part of a tag does."""
    start, tokenizer = hint.index(label), checkpoint.tokenizer
    spans = tokenizer(hint, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return [low < start + len(label) and high > start for low, high in spans]
