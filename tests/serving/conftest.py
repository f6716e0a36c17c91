"""A random tiny policy of the embedded world, three of its clips, and one engine that all tests ask."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from emsa_jax import manifest
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.messages import messages
from emsa_jax.data.puppets import PuppetWorld, make_puppets
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.policy.trained_for import TrainedFor, write_trained_for
from emsa_jax.serving.clip_reader import ClipReader
from emsa_jax.serving.engine import Engine
from emsa_jax.serving.opened_policy import OpenedPolicy, open_policy
from emsa_jax.serving.programs import ServingPrograms
from emsa_jax.serving.serving_options import ServedPolicyOptions
from emsa_jax.serving.shapes import PromptShape

SLOTS, CHUNK, ROWS = 12, 5, 3
SHAPE = PromptShape(prompt=192, chunks=2, patch_rows=4, patch_row=16)


def write_policy(directory: Path, **trained_for) -> Path:
    """A tiny policy that says what it was trained for."""
    form = make_format("dc", (-1.0, 1.0))
    asked = [messages(form, text, "en", video, True) for text in ("", "good day to you") for video in (True, False)]
    texts = [part["text"] for chat in asked for said in chat for part in said["content"] if part["type"] == "text"]
    make_tiny(directory, [*texts, form.write("Positive", "1. words: good. 2. face: smile.", 0.5)], 0)
    known = {"format": "dc", "score_range": (-1.0, 1.0), "language": "en", "num_frames": 4, "max_pixels": 3136}
    write_trained_for(directory, TrainedFor(**(known | trained_for)))
    manifest.write_manifest(directory)
    return directory


@dataclass(frozen=True)
class ServedWorld:
    """policy: its directory. clips: video files of 1.2 s, with sound."""

    policy: Path
    clips: list[Path]

    @cached_property
    def opened(self) -> OpenedPolicy:
        return open_policy(ServedPolicyOptions(policy=str(self.policy)), max_seconds=10.0, decoders=1)

    @cached_property
    def programs(self) -> ServingPrograms:
        programs = ServingPrograms(self.opened, [SHAPE], [1, ROWS], SLOTS, CHUNK)
        programs.compile()
        return programs

    @cached_property
    def asked(self):
        """One clip of video, sound and words; one of sound and words; one of words."""
        with ClipReader(self.opened.prepare, 60.0) as reader:
            return [
                reader.read(video=str(self.clips[0]), text="good day to you"),
                reader.read(audio=str(self.clips[1]), text="good day"),
                reader.read(text="to you"),
            ]


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> ServedWorld:
    root = tmp_path_factory.mktemp("served")
    make_puppets(root / "puppets", PuppetWorld(num_train=1, num_valid=1, num_test=2, workers=1))
    return ServedWorld(write_policy(root / "tiny"), sorted((root / "puppets").rglob("*.mp4")))


@pytest.fixture
def engine(served):
    """An engine that is not started yet, over programs that are compiled once."""
    made = Engine(served.programs, max_queue=8, max_batches=2)
    yield made
    made.close()
