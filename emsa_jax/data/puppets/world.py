"""The latents of the embedded world: what each puppet feels, shows and says.

Truth follows face and voice, which are two noisy views of one drawn level. Words follow it too, except in
sarcastic clips, where they have the opposite polarity (for neutral truths: a clear one).
"""

import re
from dataclasses import dataclass

import numpy as np

from emsa_jax.config.fields import option
from emsa_jax.data.data_options import PuppetOptions
from emsa_jax.data.puppets.words import STYLES, utter
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError

# 40% negative, 20% neutral, 40% positive; four intensities a side; score = level / 5 of the range's end
LEVELS = np.repeat(np.arange(-4, 5), (2, 2, 2, 2, 4, 2, 2, 2, 2))
CLIPS_PER_VIDEO = 16
_ID = re.compile(r"(concepts_)?(en|zh)_(train|valid|test)_\d{3,}\$_\$\d{4}")
CUES = ("mouth", "brow", "lift", "pitch", "contour", "tempo", "energy")


@dataclass(frozen=True)
class Domain:
    """What tells one puppet world from the other."""

    language: str
    score_max: float  # scores lie in [-score_max, score_max]
    head: str  # "round" | "square"
    skin_hue: tuple[float, float]  # degrees, uniform range
    backdrop_hue: tuple[float, float]
    base_pitch: float  # Hz, of the middle speaker
    rolloff: float  # harmonic k has weight k ** -rolloff before the formants


DOMAINS = {
    "en": Domain("en", 3.0, "round", (25, 50), (190, 230), base_pitch=200.0, rolloff=0.5),
    "zh": Domain("zh", 1.0, "square", (80, 110), (290, 330), base_pitch=240.0, rolloff=0.8),
}


@dataclass(frozen=True)
class PuppetWorld(PuppetOptions):
    """What decides every byte of a puppet data set, `workers` excepted.

    domain: one of DOMAINS. seed: of all that is drawn. fooled: how often the teacher believes sarcastic words. workers:
    processes, 0 for one per CPU. Raises InputError on an unknown domain, a share outside [0, 1] or an empty split.
    """

    domain: str = "en"
    seed: int = option(0, "of all that is drawn", low=0)
    fooled: float = option(0.9, "how often the teacher believes sarcastic words", low=0, high=1)
    workers: int = option(0, "processes that draw", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.domain not in DOMAINS:
            raise InputError(f"puppets.domain {self.domain!r} is unknown: use one of {', '.join(DOMAINS)}")


@dataclass(frozen=True)
class Speaker:
    """The traits that all clips of one video share and that say nothing about sentiment."""

    skin_hue: float  # degrees
    backdrop_hue: float
    width: float  # head width, relative
    base_pitch: float  # Hz
    tract: float  # formant scale


@dataclass(frozen=True)
class Puppet:
    """One clip: its truth, what is drawn of it, what is said, and who says it."""

    video_id: str
    clip_id: str
    split: str
    score: float
    level: int  # truth, -4..4
    drawn: int  # the level that face and voice show, -4..4
    sarcastic: bool
    noisy: bool
    expression: str
    tone: str
    style: str
    valence: int  # of the words, -2..2
    word: str
    text: str
    mouth: float  # curvature, about -1 (frown) .. 1 (smile)
    brow: float  # tilt, about -1 (inner ends up, sad) .. 1 (inner ends down, angry)
    lift: float  # height of the brows, about 0 .. 1
    pitch: float  # semitones from the speaker's base
    contour: float  # semitones from the first sample to the last
    tempo: float  # syllables a second
    energy: float  # dB from the usual loudness
    speaker: Speaker
    key: tuple[int, ...]  # seeds whatever the renderers draw at random

    @property
    def id(self) -> str:
        return f"{self.video_id}$_${self.clip_id}"


def is_puppet(id: str) -> bool:
    """Whether an id is one of a puppet's, of any domain."""
    return bool(_ID.fullmatch(id))


def draw_world(options: PuppetWorld) -> list[Puppet]:
    """All puppets of a data set, train, valid, test in turn. Levels, sarcasm and noise meet their shares
    exactly, up to rounding; speakers (videos) are not shared between splits."""
    counts = (options.num_train, options.num_valid, options.num_test)
    return [p for s, count in enumerate(counts) for p in _draw_split(options, s, count)]


def notch(level: int) -> float:
    """Strength of a level's cues in [-1, 1]; the step around neutral is double."""
    return float(np.sign(level)) * 0.13 * (1 + abs(level))


def _draw_split(options: PuppetWorld, s: int, count: int) -> list[Puppet]:
    root = (options.seed, list(DOMAINS).index(options.domain), s)
    rng = np.random.default_rng(root)
    levels = rng.permutation(np.resize(rng.permutation(LEVELS), count))
    sarcastic = rng.permutation(count) < round(options.sarcasm * count)
    noisy = rng.permutation(count) < round(options.noise * count)
    return [
        _draw_puppet(options.domain, root, i, int(levels[i]), bool(sarcastic[i]), bool(noisy[i])) for i in range(count)
    ]


def _draw_puppet(domain: str, root: tuple[int, int, int], i: int, level: int, sarcastic: bool, noisy: bool) -> Puppet:
    rng = np.random.default_rng((*root, i, 1))
    video = i // CLIPS_PER_VIDEO
    drawn = _blur(level, rng) if noisy else level
    expression, tone = _mood(drawn, rng)
    style = str(rng.choice(STYLES))
    valence = int(np.sign(level)) * (1 + (abs(level) > 2))
    if sarcastic:
        valence = -valence or int(rng.choice((-2, -1, 1, 2)))
    text, word = utter(DOMAINS[domain].language, valence, style, rng)
    return Puppet(
        video_id=f"{domain}_{SPLITS[root[-1]]}_{video:03d}",
        clip_id=f"{i % CLIPS_PER_VIDEO:04d}",
        split=SPLITS[root[-1]],
        score=round(level / 5 * DOMAINS[domain].score_max, 2),
        level=level,
        drawn=drawn,
        sarcastic=sarcastic,
        noisy=noisy,
        expression=expression,
        tone=tone,
        style=style,
        valence=valence,
        word=word,
        text=text,
        **_cues(drawn, expression, tone, rng),
        speaker=draw_speaker(DOMAINS[domain], np.random.default_rng((*root, video, 2))),
        key=(*root, i, 3),
    )


def _blur(level: int, rng: np.random.Generator) -> int:
    """What a noisy clip shows: a neighbour of its level or nothing (a neutral truth: always a neighbour)."""
    if level and rng.random() < 0.5:
        return 0
    return level + int(rng.choice((-1, 1)) if abs(level) < 4 else -np.sign(level))


def _mood(drawn: int, rng: np.random.Generator) -> tuple[str, str]:
    """Facial expression and tone for a drawn level; names are those of the CH-CEMS label sets."""
    if drawn == 0:
        return "neutral", str(rng.choice(("neutral", "casual")))
    if drawn < 0:
        return ("sad", "sad") if rng.random() < 0.5 else ("angry", "angry")
    return ("surprised" if rng.random() < 0.3 else "happy"), ("excited" if drawn > 2 else "happy")


def _cues(drawn: int, expression: str, tone: str, rng: np.random.Generator) -> dict[str, float]:
    face, voice = notch(drawn) + rng.normal(0, 0.03, 2)
    strength = abs(voice)
    tempo = {
        "sad": 4 - 1.8 * strength,
        "angry": 4 + 2 * strength,
        "happy": 4 + 2 * strength,
        "excited": 4 + 2.5 * strength,
        "casual": 4.1,
        "neutral": 3.9,
    }[tone]
    energy = {
        "sad": -6 * strength,
        "angry": 6 * strength,
        "happy": 4 * strength,
        "excited": 5 * strength,
        "casual": 0.0,
        "neutral": 0.0,
    }[tone]
    cues = {
        "mouth": face,
        "brow": {"angry": abs(face), "sad": -abs(face)}.get(expression, 0.0),
        "lift": {"surprised": 1.0, "happy": 0.5}.get(expression, 0.0) * abs(face),
        "pitch": 3 * voice,
        "contour": 8 * voice,
        "tempo": tempo + rng.normal(0, 0.1),
        "energy": energy + rng.normal(0, 2.0),
    }
    return {name: round(float(value), 4) for name, value in cues.items()}


def draw_speaker(domain: Domain, rng: np.random.Generator) -> Speaker:
    return Speaker(
        skin_hue=float(rng.uniform(*domain.skin_hue)),
        backdrop_hue=float(rng.uniform(*domain.backdrop_hue)),
        width=float(rng.uniform(0.94, 1.04)),
        base_pitch=float(domain.base_pitch * 2 ** (rng.uniform(-5, 5) / 12)),
        tract=float(rng.uniform(0.96, 1.04)),
    )
