"""A random tiny policy of the embedded world, three of its clips, and one engine that all tests ask."""

import threading
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
import pytest
import requests

from emsa_jax import manifest
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.messages import messages
from emsa_jax.data.puppets import PuppetWorld, make_puppets
from emsa_jax.data.records import Entry
from emsa_jax.evaluation.evaluation_options import EvaluateOptions
from emsa_jax.evaluation.kept_answers import AnswerSettings, questions
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.policy.trained_for import TrainedFor, write_trained_for
from emsa_jax.rollout.answering import asked_clips, compile_answers, predict
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.rollout_options import PromptOptions, SamplingOptions
from emsa_jax.runtime.programs import Programs
from emsa_jax.serving.clip_reader import ClipReader
from emsa_jax.serving.engine import Engine
from emsa_jax.serving.opened_policy import OpenedPolicy, open_policy
from emsa_jax.serving.programs import ServingPrograms
from emsa_jax.serving.server import PolicyServer
from emsa_jax.serving.serving_options import ServedPolicyOptions, ServeOptions
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
    """policy: its directory. clips: video files of 1.2 s, with sound. compiled: an entry for each program."""

    policy: Path
    clips: list[Path]
    compiled: list[int] = field(default_factory=list)

    @cached_property
    def opened(self) -> OpenedPolicy:
        return open_policy(ServedPolicyOptions(policy=str(self.policy)), max_seconds=10.0, decoders=1)

    @cached_property
    def programs(self) -> ServingPrograms:
        programs = ServingPrograms(self.opened, [SHAPE], [1, ROWS], SLOTS, CHUNK)
        programs.compile(lambda: self.compiled.append(1))
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


def entry_of(clip, place):
    return Entry(
        id=str(place),
        text=clip.text,
        score=None,
        split="test",
        language=clip.language,
        num_frames=len(clip.frames),
        height=clip.frames.shape[1],
        width=clip.frames.shape[2],
        frame_rate=clip.frame_rate,
        mel_frames=len(clip.mel),
        source="",
    )


@pytest.fixture(scope="session")
def evaluated(served):
    """Completions of the clips as an evaluation asks for them, in one batch of the same bucket and number of rows."""
    policy = served.opened
    prompter = replace(policy.prompter, options=replace(policy.prompter.options, buckets=(SHAPE.prompt,)))
    entries = [entry_of(clip, i) for i, clip in enumerate(served.asked)]
    lengths = np.array([prompter.length(one) for one in entries])
    split = Split(None, prompter, entries, lengths, served.asked, np.arange(len(entries)))
    settings = AnswerSettings(
        dtype="float32",
        seed=0,
        prompt=PromptOptions(),
        sampling=SamplingOptions(max_completion_length=SLOTS),
        evaluate=EvaluateOptions(batch_size=ROWS),
    )
    ((bucket, asked),) = asked_clips(split, ROWS).items()
    assert (bucket, asked.rows) == (SHAPE.prompt, ROWS)
    inputs = {bucket: policy.placement.inputs(asked.shape, asked.rows)}
    compiled = compile_answers(
        Programs(policy.placement.decode),
        "greedy",
        policy.base,
        policy.adapter,
        policy.config,
        inputs=inputs,
        sampling=questions(settings)["greedy"].sampling,
        group_size=1,
    )
    kept = []

    def run(bucket, *rest):
        kept.append(jax.device_get(compiled[bucket](policy.base, policy.adapter, *rest)))
        return kept[-1]

    list(predict(split, run, ROWS, 0))
    return kept[0]


class Running:
    """A server in threads of this process. options: as `ServeOptions` has them; most are set to make the programs those
    of `ServedWorld.programs`, which are compiled only once."""

    def __init__(self, served, **options):
        known = {"policy": str(served.policy), "port": 0, "cache": "", "decoders": 1, "name": "tiny", "chunk": CHUNK}
        known |= {"batch_size": ROWS, "buckets": (SHAPE.prompt,), "max_tokens": SLOTS, "max_images": SHAPE.patch_rows}
        known |= {"max_seconds": 2.5, "max_mb": 0.5, "max_queue": 6, "max_answers": 3}
        self.server = PolicyServer(ServeOptions(**(known | options)), b"<p>")
        self.url = self.server.address
        self.thread = threading.Thread(target=self.server.answer_all, daemon=True)
        self.thread.start()

    def ready(self):
        """Waits until it answers."""
        deadline = time.monotonic() + 120
        while requests.get(f"{self.url}/health").status_code != 200:
            assert time.monotonic() < deadline and self.server.failure is None, self.server.failure
            time.sleep(0.05)
        return self

    def stop(self):
        self.server.handle_exit(15, None)
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def running(served, tmp_path_factory):
    root = tmp_path_factory.mktemp("media")
    (root / "clip.mp4").write_bytes(served.clips[0].read_bytes())
    made = Running(served, media_root=str(root)).ready()
    yield made
    made.stop()
