"""Media files become clips, in decoding processes with limits of memory and time, as `prepare` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.media import Broken
from emsa_jax.data.records import Clip, unpack
from emsa_jax.data.sample import Sample
from emsa_jax.data.workers import Decoders
from emsa_jax.errors import InputError

FPS_OF_PICTURES = 1.0  # of single pictures that are shown as the frames of a video: nobody says when they were taken


class ClipReader:
    """Reads clips; threads may share it. To be used as a context."""

    def __init__(self, options: PrepareOptions, timeout_seconds: float) -> None:
        """timeout_seconds: of the decoding of one file."""
        self._decoders = Decoders(options, timeout_seconds)

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._decoders.__exit__(*error)

    def stop(self) -> None:
        """Ends what is being decoded, whose readers get an InputError."""
        self._decoders.stop()

    def start(self) -> None:
        """Starts the processes, so that the first clip need not wait for one."""
        self._decoders.start()

    def read(self, video: str = "", audio: str = "", text: str = "", language: str = "en", name: str = "") -> Clip:
        """A clip of files. Without `audio` the video's own sound counts. name: of the file, for errors.

        Raises InputError with the reason why they do not decode."""
        if not (video or audio):
            return text_alone(text, language)
        for path in filter(None, (video, audio)):
            if not Path(path).is_file():
                raise InputError(f"{name or path}: there is no such file")
        paths = {
            "video": str(Path(video).absolute()) if video else "",
            "audio": str(Path(audio).absolute()) if audio else "",
        }
        sample = Sample(id="clip", text=text, score=None, split="test", language=language, **paths)
        record = self._decoders.encode(sample, "")
        if isinstance(record, Broken):
            raise InputError(f"{name or video or audio}: {record}")
        return unpack(record)


def text_alone(text: str, language: str) -> Clip:
    """A clip of words alone."""
    nothing = np.zeros((0, 28, 28, 3), np.uint8), 0.0, np.zeros((0, 128), np.float32)
    return Clip("clip", text, None, "test", language, *nothing)


def in_one(clips: Sequence[Clip], text: str, language: str) -> Clip:
    """One clip of the parts of a question: a video or pictures, which count as the frames of one; a sound, which is
    heard in place of the video's own. Raises InputError for more than that."""
    moving = [clip for clip in clips if len(clip.frames) > 1]
    stills = [clip for clip in clips if len(clip.frames) == 1]
    sounds = [clip for clip in clips if not len(clip.frames)]
    if len(moving) > 1 or moving and stills or len(sounds) > 1:
        raise InputError(
            f"the question has {len(moving)} videos, {len(stills)} pictures and {len(sounds)} sounds; it can have one "
            "video or the pictures of one, and one sound; raw=true takes them as they stand"
        )
    made = replace(text_alone(text, language))
    if moving:
        made = replace(moving[0], text=text, language=language)
    elif stills:
        first = stills[0].frames[0].shape
        if any(clip.frames[0].shape != first for clip in stills):
            raise InputError("the pictures of one clip must be of one size")
        frames = np.concatenate([clip.frames for clip in stills])
        made = replace(stills[0], text=text, language=language, frames=frames, frame_rate=FPS_OF_PICTURES)
    return replace(made, mel=sounds[0].mel) if sounds else made
