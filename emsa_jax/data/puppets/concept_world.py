"""Puppets that are annotated as CH-CEMS is: classes of sentiment, expressions, tones and styles in long tails.

The classes have CH-CEMS' shares (table 6). What a voice and a face show beside the level is a tone and an expression,
each with a manner of its own; labels are what five annotators, who confuse
labels at stated rates, vote for.
"""

from dataclasses import dataclass

import numpy as np

from emsa_jax.data.annotation.votes import SENTIMENT, majority, score
from emsa_jax.data.facts import FACTS
from emsa_jax.data.puppets.words import STYLES, utter
from emsa_jax.data.puppets.world import CLIPS_PER_VIDEO, DOMAINS, Puppet, PuppetWorld, draw_speaker, notch
from emsa_jax.data.sample import SPLITS

# level -> weight: the totals of CH-CEMS' five classes, spread evenly over the levels of each; score = level / 5
LEVELS = {-5: 139, -4: 140, -3: 188, -2: 188, -1: 189, 0: 1521, 1: 322, 2: 322, 3: 321, 4: 193, 5: 192}
# sign of the drawn level -> tone, or expression -> weight; the rest of the paper's tones have no voice here
TONES = {
    -1: {"sad": 40, "angry": 26, "disappointed": 16, "nervous": 10, "disgusted": 8},
    0: {"casual": 54, "neutral": 30, "curious": 10, "indifferent": 6},
    1: {"happy": 42, "casual": 22, "excited": 18, "confident": 10, "expectant": 8},
}
EXPRESSIONS = {
    -1: {"sad": 42, "angry": 28, "neutral": 18, "disgusted": 12},
    0: {"neutral": 88, "surprised": 12},
    1: {"happy": 62, "neutral": 22, "surprised": 16},
}
STYLE_WEIGHTS = {STYLES[1]: 64, STYLES[0]: 36}
# tone -> (syllables a second, dB from the usual loudness, semitones that the voice rises beyond its level's contour)
VOICES = {
    "sad": (2.9, -5, 0),
    "angry": (5.4, 6, 0),
    "disappointed": (3.5, -2, -3),
    "nervous": (5.4, -4, 3),
    "disgusted": (3.0, 4, -3),
    "casual": (4.6, 0, 0),
    "neutral": (3.8, 0, 0),
    "curious": (4.2, -1, 6),
    "indifferent": (3.0, -5, -3),
    "happy": (4.8, 4, 0),
    "excited": (5.8, 6, 2),
    "confident": (3.6, 5, -2),
    "expectant": (4.2, -3, 4),
}
ANNOTATORS = 5
FIELDS = ("tone", "expression", "speaking_style")
SCENARIOS = dict(zip(FACTS["ch_cems"].concepts["scenario"], (30, 22, 18, 8, 14, 8), strict=True))
INTERACTIONS = dict(zip(FACTS["ch_cems"].concepts["interaction"], (60, 15, 25), strict=True))


@dataclass(frozen=True)
class ConceptWorld(PuppetWorld):
    """`noise` and `sarcasm` as elsewhere. Confusion: how often an annotator names another label than what is shown
    (sentiment: a vote next to it); these give about the kappas that CH-CEMS reports. rounds: how often a concept
    without majority is voted on."""

    tone_confusion: float = 0.27
    expression_confusion: float = 0.22
    style_confusion: float = 0.14
    sentiment_confusion: float = 0.01
    rounds: int = 2


@dataclass(frozen=True)
class ConceptPuppet(Puppet):
    """A puppet with the groups that CH-CEMS' results are broken down by. `score` is that of its level, not of votes."""

    scenario: str = ""
    interaction: str = ""


def draw_concept_world(options: ConceptWorld) -> list[ConceptPuppet]:
    """All puppets of a data set, train, valid, test in turn. Levels, sarcasm and noise meet their shares exactly, up
    to rounding; speakers (videos) are not shared between splits, and each keeps to one scenario."""
    counts = (options.num_train, options.num_valid, options.num_test)
    return [p for s, count in enumerate(counts) for p in _draw_split(options, s, count)]


def _draw_split(options: ConceptWorld, s: int, count: int) -> list[ConceptPuppet]:
    root = (options.seed, list(DOMAINS).index(options.domain), s, 11)
    rng = np.random.default_rng(root)
    weights = np.array(list(LEVELS.values()))
    ends = np.round(np.cumsum(weights) / weights.sum() * count).astype(int)
    levels = rng.permutation(np.repeat(list(LEVELS), np.diff(ends, prepend=0)))
    sarcastic = rng.permutation(count) < round(options.sarcasm * count)
    noisy = rng.permutation(count) < round(options.noise * count)
    return [
        _draw_puppet(options.domain, root, i, int(levels[i]), bool(sarcastic[i]), bool(noisy[i])) for i in range(count)
    ]


def _draw_puppet(name: str, root: tuple[int, ...], i: int, level: int, sarcastic: bool, noisy: bool) -> ConceptPuppet:
    rng = np.random.default_rng((*root, i, 1))
    video = i // CLIPS_PER_VIDEO
    of_video = np.random.default_rng((*root, video, 2))
    domain, split = DOMAINS[name], SPLITS[root[2]]
    drawn = int(np.clip(level + rng.choice((-1, 1)), -5, 5)) if noisy else level
    sign = int(np.sign(drawn))
    expression, tone = pick(EXPRESSIONS[sign], rng), pick(TONES[sign], rng)
    style = pick(STYLE_WEIGHTS, rng)
    valence = int(np.sign(level)) * (1 + (abs(level) > 2))
    if sarcastic:
        valence = -valence or int(rng.choice((-2, -1, 1, 2)))
    text, word = utter(domain.language, valence, style, rng)
    return ConceptPuppet(
        video_id=f"{name}_{split}_{video:03d}",
        clip_id=f"{i % CLIPS_PER_VIDEO:04d}",
        split=split,
        score=level / 5,
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
        speaker=draw_speaker(domain, of_video),
        key=(*root, i, 3),
        scenario=pick(SCENARIOS, of_video),
        interaction=pick(INTERACTIONS, rng),
    )


def pick(weights: dict[str, float], rng: np.random.Generator) -> str:
    """A name drawn by weight."""
    shares = np.array(list(weights.values()), float)
    return list(weights)[int(rng.choice(len(weights), p=shares / shares.sum()))]


def _cues(drawn: int, expression: str, tone: str, rng: np.random.Generator) -> dict[str, float]:
    face, voice = notch(drawn) + rng.normal(0, 0.03, 2)
    strength = 0.6 + 0.4 * abs(face)  # even a weak level shows which expression it is
    tempo, energy, rise = VOICES[tone]
    cues = {
        "mouth": 0.4 * face if expression == "neutral" else face,
        "brow": {"angry": strength, "sad": -strength, "disgusted": 0.5 * strength}.get(expression, 0.0),
        "lift": {"surprised": 1.0, "happy": 0.3, "disgusted": -1.0}.get(expression, 0.0) * strength,
        "pitch": 3 * voice,
        "contour": 8 * voice + rise,
        "tempo": tempo + rng.normal(0, 0.1),
        "energy": energy + rng.normal(0, 1.0),
    }
    return {cue: round(float(value), 4) for cue, value in cues.items()}


def votes_of(puppet: ConceptPuppet, options: ConceptWorld) -> dict[str, list[str]]:
    """Field -> the five votes, concepts as they stand after the last round.

    Sentiment: as many vote for the drawn level's sign as it has fifths, the others for 0; each errs by one class with
    probability `sentiment_confusion`. Concepts: each names what is shown or, with the concept's confusion, another
    label as frequent as it is at levels of the same sign or, half as often, of any; where no label has three votes,
    all five vote again, up to `rounds` times.
    """
    rng = np.random.default_rng((*puppet.key, 5))
    signed = np.where(rng.permutation(ANNOTATORS) < abs(puppet.drawn), np.sign(puppet.drawn), 0)
    errs = rng.random(ANNOTATORS) < options.sentiment_confusion
    signed = np.where(errs, np.where(signed == 0, rng.choice((-1, 1), ANNOTATORS), 0), signed)
    votes = {SENTIMENT: [str(int(vote)) for vote in signed]}
    sign = int(np.sign(puppet.drawn))
    for field, drawn, confusion, near, far in (
        ("tone", puppet.tone, options.tone_confusion, TONES[sign], _any(TONES)),
        ("expression", puppet.expression, options.expression_confusion, EXPRESSIONS[sign], _any(EXPRESSIONS)),
        ("speaking_style", puppet.style, options.style_confusion, STYLE_WEIGHTS, STYLE_WEIGHTS),
    ):
        for _ in range(options.rounds):
            votes[field] = [_vote(drawn, confusion, near, far, rng) for _ in range(ANNOTATORS)]
            if majority(votes[field]):
                break
    return votes


def labels_of(votes: dict[str, list[str]]) -> dict[str, str | float]:
    """ "label" and the concepts, "" without majority: as the annotation job makes them of the same votes."""
    return {"label": score(votes[SENTIMENT]), **{field: majority(votes[field]) or "" for field in FIELDS}}


def _vote(drawn: str, confusion: float, near: dict, far: dict, rng: np.random.Generator) -> str:
    if rng.random() >= confusion:
        return drawn
    weights = far if rng.random() < 1 / 3 else near
    return pick({name: weight for name, weight in weights.items() if name != drawn}, rng)


def _any(tables: dict[int, dict[str, float]]) -> dict[str, float]:
    """The weights of all signs together, as frequent as CH-CEMS' polarities are."""
    merged: dict[str, float] = {}
    for sign, fraction in ((-1, 0.23), (0, 0.41), (1, 0.36)):
        for name, weight in tables[sign].items():
            merged[name] = merged.get(name, 0.0) + fraction * weight
    return merged
