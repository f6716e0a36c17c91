"""The template teacher: reasoned answers for the cold start, wrong in a stated share of cases.

The teacher names truly what is drawn and said, but it reads first: it believes the words of a sarcastic clip
with probability `fooled`, and elsewhere it slips with probability `teacher_error`. (On noisy clips it judges
by what is drawn, so there it may be wrong as well.) A filter that drops traces of the wrong polarity
therefore drops most sarcastic clips: what survives under-represents the hard samples. That is why a policy
cold-started on it still trusts words too much, and why reinforcement learning has something to teach.

Where reasoning marks concepts, the teacher names them as they are drawn, not as the annotators voted: where these
disagree with it, the filter drops its trace.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from emsa_jax.data.facts import FACTS
from emsa_jax.data.puppets.concept_world import EXPRESSIONS, STYLE_WEIGHTS, TONES, ConceptPuppet, ConceptWorld, pick
from emsa_jax.data.puppets.world import DOMAINS, Puppet, PuppetWorld, notch
from emsa_jax.data.sample import SPLITS

Seen = TypeVar("Seen", Puppet, ConceptPuppet)
POLARITIES = {-1: "Negative", 0: "Neutral", 1: "Positive"}
_NOTCHES = {level: notch(level) for level in range(-4, 5)}

_TERMS = {
    "en": {
        "think": "1. words: {word}. 2. face: {mouth}. 3. voice: {contour}, {tempo}. 4. {link}.",
        "mouth": ("level mouth", "slight {}", "mild {}", "clear {}", "broad {}"),
        "lips": ("frown", "smile"),
        "contour": ("falling", "steady", "rising"),
        "tempo": ("slow", "even", "fast"),
        "agree": "all agree",
        "outweigh": "face and voice decide",
        "fooled": "the words decide",
        "slip": "on the whole",
    },
    "zh": {
        "think": "1. 文字：{word}。2. 表情：{mouth}。3. 声音：{contour}，{tempo}。4. {link}。",
        "mouth": ("嘴角平", "略微{}", "有些{}", "明显{}", "尽情{}"),
        "lips": ("撇嘴", "微笑"),
        "contour": ("下降", "平稳", "上升"),
        "tempo": ("慢", "适中", "快"),
        "agree": "三者一致",
        "outweigh": "以表情和声音为准",
        "fooled": "以文字为准",
        "slip": "总的来看",
    },
}
_CONCEPT_LINKS = {
    "en": {
        "agree": "all agree.",
        "outweigh": "face and voice decide.",
        "fooled": "the words decide.",
        "slip": "on the whole.",
    },
    "zh": {"agree": "三者一致。", "outweigh": "以表情和声音为准。", "fooled": "以文字为准。", "slip": "总的来看。"},
}


def write_traces(puppets: list[Puppet], options: PuppetWorld) -> list[dict]:
    """One row {"id", "polarity", "think", "score"} for each train clip that the teacher was asked about."""
    return [_trace(puppet, options) for puppet in asked_about(puppets, options, 4)]


def asked_about(puppets: Sequence[Seen], options: PuppetWorld | ConceptWorld, key: int) -> list[Seen]:
    """The train clips that the teacher is asked about; which ones hangs on the seed, the domain and the key."""
    train = [p for p in puppets if p.split == SPLITS[0]]
    rng = np.random.default_rng((options.seed, list(DOMAINS).index(options.domain), key))
    asked = np.sort(rng.permutation(len(train))[: round(options.trace_share * len(train))])
    return [train[i] for i in asked]


def seen_level(
    puppet: Puppet | ConceptPuppet, options: PuppetWorld | ConceptWorld, rng: np.random.Generator
) -> tuple[int, str]:
    """(the level that the teacher sees, what it went by)."""
    agree = np.sign(puppet.valence) == np.sign(puppet.drawn)
    if puppet.sarcastic and np.random.default_rng((*puppet.key, 6)).random() < options.resolved:
        return puppet.drawn, "agree" if agree else "outweigh"  # whatever `rng` says, which goes on as without
    if rng.random() >= (options.fooled if puppet.sarcastic else options.teacher_error):
        return puppet.drawn, "agree" if agree else "outweigh"
    if puppet.sarcastic:
        return 2 * puppet.valence, "fooled"
    # any level of another sign than the true one
    return int(rng.choice([x for x in range(-4, 5) if np.sign(x) != np.sign(puppet.level)])), "slip"


def _trace(puppet: Puppet, options: PuppetWorld) -> dict:
    domain = DOMAINS[options.domain]
    rng = np.random.default_rng((*puppet.key, 2))
    level, link = seen_level(puppet, options, rng)
    return {
        "id": puppet.id,
        "polarity": POLARITIES[int(np.sign(level))],
        "think": _think(puppet, domain.language, link),
        "score": round(level / 5 * domain.score_max, 2),
    }


def _think(puppet: Puppet, language: str, link: str) -> str:
    terms = _TERMS[language]
    seen = min(_NOTCHES, key=lambda x: abs(_NOTCHES[x] - puppet.mouth))
    return terms["think"].format(
        word=puppet.word,
        mouth=_graded(terms["mouth"], terms["lips"], seen),
        contour=_third(terms["contour"], puppet.contour, 1.6),
        tempo=_third(terms["tempo"], puppet.tempo - 4, 0.3),
        link=terms[link],
    )


def _graded(grades: tuple[str, ...], ends: tuple[str, str], level: int) -> str:
    return grades[abs(level)].format(ends[level > 0])


def _third(names: tuple[str, str, str], value: float, edge: float) -> str:
    return names[1 + (value > edge) - (value < -edge)]


def write_concept_traces(puppets: list[ConceptPuppet], options: ConceptWorld) -> list[dict]:
    """One row {"id", "polarity", "think", "score"} for each train clip that the teacher was asked about.

    It errs about each concept with probability `teacher_error`, about sentiment as the plain world's teacher."""
    return [_concept_trace(puppet, options) for puppet in asked_about(puppets, options, 14)]


def _concept_trace(puppet: ConceptPuppet, options: ConceptWorld) -> dict:
    rng = np.random.default_rng((*puppet.key, 2))
    level, link = seen_level(puppet, options, rng)
    sign = int(np.sign(puppet.drawn))
    named = {}
    for field, drawn, weights in (
        ("expression", puppet.expression, EXPRESSIONS[sign]),
        ("speaking_style", puppet.style, STYLE_WEIGHTS),
        ("tone", puppet.tone, TONES[sign]),
    ):
        errs = rng.random() < options.teacher_error
        others = {name: weight for name, weight in weights.items() if name != drawn}
        named[field] = pick(others, rng) if errs else drawn
    language = DOMAINS[options.domain].language
    return {
        "id": puppet.id,
        "polarity": POLARITIES[int(np.sign(level))],
        "think": _concept_think(puppet.word, named, link, language),
        "score": level / 5,
    }


def _concept_think(word: str, named: dict[str, str], link: str, language: str) -> str:
    facts = FACTS["ch_cems"]
    labels = {
        field: facts.chinese[field][facts.concepts[field].index(label)] if language == "zh" else label
        for field, label in named.items()
    }
    tags = {"expression": "facial_expression"}
    marks = [f"<{tags.get(field, field)}>{label}</{tags.get(field, field)}>" for field, label in labels.items()]
    return "\n".join([f"<concept>{word}</concept>", *marks, _CONCEPT_LINKS[language][link]])
