"""Options of `ask` and `serve`. Imports no jax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.formats import format_class
from emsa_jax.config.fields import Options, option
from emsa_jax.data.data_options import MODALITIES
from emsa_jax.errors import InputError
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.rollout.rollout_options import HOTTEST, check_temperature

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def fits_header(token: str) -> bool:
    """Whether clients can send a token: a header holds visible ASCII characters alone."""
    return all("!" <= char <= "~" for char in token)


@dataclass(frozen=True)
class AskedAs(Options):
    """How a policy is asked, where it is not to be asked as its directory says."""

    group: ClassVar[str] = "asked"
    format: str = option("", "the form of the answers; empty: the policy's own, or dc")
    score_range: tuple[float, ...] = option((), "lowest and highest score; (): the policy's own, or (-1.0, 1.0)")
    language: str = option("", "en or zh, of the question; empty: the policy's own, or en")
    modalities: tuple[str, ...] = option((), "of text, audio, video, what it is shown; (): the policy's own")
    num_frames: int = option(0, "frames taken of a video; 0: the policy's own, or 16", low=0, high=10**4)
    max_pixels: int = option(0, "most pixels of a frame; 0: the policy's own", unit="pixels", low=0, high=2**30)
    concepts: ConceptOptions = ConceptOptions()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format:
            format_class(self.format)
        if self.score_range and not (len(self.score_range) == 2 and self.score_range[0] < self.score_range[1]):
            raise InputError(f"asked.score_range must be two numbers that rise, not {self.score_range}")
        if self.language not in ("", "en", "zh"):
            raise InputError(f"asked.language: {self.language!r} is none of en, zh")
        if not set(self.modalities) <= set(MODALITIES):
            raise InputError(f"asked.modalities: {self.modalities} are not of {', '.join(MODALITIES)}")


@dataclass(frozen=True)
class ServedPolicyOptions(Options):
    """Which policy answers, and where its programs are kept."""

    policy: str = option("", "a policy directory, such as runs/mine/export/merged")
    adapter: str = option("", "a PEFT directory over it; empty: none")
    dtype: Literal["float32", "bfloat16"] = option("float32", "of the weights and of activations")
    cache: str = option(
        "~/.cache/emsa_jax", "a directory that keeps compiled programs for the next start; empty: none is kept"
    )
    chunk: int = option(8, "tokens that are drawn between two looks at what was drawn", unit="tokens", low=1, high=512)
    asked: AskedAs = AskedAs()
    mesh: MeshOptions = MeshOptions()


@dataclass(frozen=True)
class AskOptions(ServedPolicyOptions):
    """A policy is asked about one clip, or about a file or folder of clips."""

    job: Literal["ask"] = option("ask", "which job this is")
    video: str = option("", "a video file; its own sound is heard too; empty: none")
    audio: str = option("", "a sound file, heard in place of the video's own sound; empty: none")
    text: str = option("", "the words that are said; empty: none")
    data: str = option(
        "", "a folder of media, or a csv or jsonl with the columns id, text, video and audio; empty: the one clip"
    )
    out: str = option("predictions.csv", "the csv that is written about data")
    show_prompt: bool = option(False, "print what the policy got: text, ids, and where media stand")
    temperature: float = option(0.0, "logits are divided by this; 0 takes the likeliest token", low=0, high=HOTTEST)
    top_p: float = option(1.0, "only the likeliest tokens that make up this probability", low=0.001, high=1)
    seed: int = option(0, "of what is drawn", low=0, high=2**31 - 1)
    max_tokens: int = option(512, "most tokens of an answer", unit="tokens", low=1, high=10**5)
    batch_size: int = option(16, "clips of data at a time", low=1)
    max_seconds: float = option(300.0, "longer clips are refused", unit="s", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature("temperature", self.temperature)
        if self.data and (self.video or self.audio or self.text):
            raise InputError("data: is for many clips, video, audio and text are one clip; give one or the other")


@dataclass(frozen=True)
class ServeOptions(ServedPolicyOptions):
    """A policy behind OpenAI's protocol."""

    job: Literal["serve"] = option("serve", "which job this is")
    host: str = option("127.0.0.1", "the address to listen at; any but loopback needs a token")
    port: int = option(8000, "the port; 0: any that is free", low=0, high=2**16 - 1)
    token: str = option("", "what clients must send as Authorization: Bearer TOKEN; empty: that of token_env")
    token_env: str = option("EMSA_TOKEN", "the environment variable that holds the token, where it is set")
    name: str = option("", "the model's name for clients; empty: that of its run, or of its directory")
    hosts: tuple[str, ...] = option((), "further names by which clients may call the server, in their Host header")
    media_root: str = option("", "a directory whose files requests may name as file:// addresses; empty: none may")
    batch_size: int = option(8, "answers that are made together", low=1, high=1024)
    max_batches: int = option(4, "batches that are under way, a chunk of each in turn", low=1, high=64)
    max_queue: int = option(64, "answers that wait at most; more are told to come again (429)", low=1, high=10**5)
    max_tokens: int = option(512, "most tokens of an answer", unit="tokens", low=1, high=10**5)
    max_answers: int = option(8, "most answers to one request (n)", low=1, high=1024)
    buckets: tuple[int, ...] = option(
        (), "prompt lengths that are compiled; (): three, up to the longest that media and text may need", low=1
    )
    max_text: int = option(512, "tokens of words that the longest prompt has room for", unit="tokens", low=1)
    max_images: int = option(8, "pictures that the longest prompt has room for", low=1, high=1024)
    max_seconds: float = option(30.0, "longer clips are refused", unit="s", above=0, high=3600)
    max_mb: float = option(32.0, "larger requests are refused (413)", unit="MB", above=0, high=4096)
    timeout_seconds: float = option(120.0, "a request that takes longer is given up (504)", unit="s", above=0)
    decoders: int = option(0, "processes that decode media; 0: one per CPU", low=0, high=1024)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not fits_header(self.token):
            raise InputError("token: only visible ASCII characters can be sent in a header")
