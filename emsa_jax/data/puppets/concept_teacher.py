"""The template teacher where reasoning marks concepts: it names them as it sees them, and sentiment as `teacher` does.

It knows what is shown, not what the annotators made of it: where they disagree with it, the filter drops its trace.
"""

import numpy as np

from emsa_jax.data.facts import FACTS
from emsa_jax.data.puppets.concept_world import EXPRESSIONS, STYLE_WEIGHTS, TONES, ConceptPuppet, ConceptWorld, pick
from emsa_jax.data.puppets.teacher import POLARITIES, asked_about, judged
from emsa_jax.data.puppets.world import DOMAINS

_LINKS = {
    "en": {
        "agree": "all agree.",
        "outweigh": "face and voice decide.",
        "fooled": "the words decide.",
        "slip": "on the whole.",
    },
    "zh": {"agree": "三者一致。", "outweigh": "以表情和声音为准。", "fooled": "以文字为准。", "slip": "总的来看。"},
}


def write_concept_traces(puppets: list[ConceptPuppet], options: ConceptWorld) -> list[dict]:
    """One row {"id", "polarity", "think", "score"} for each train clip that the teacher was asked about.

    It errs about each concept with probability `teacher_error`, about sentiment as the plain world's teacher."""
    return [_trace(puppet, options) for puppet in asked_about(puppets, options, 14)]


def _trace(puppet: ConceptPuppet, options: ConceptWorld) -> dict:
    rng = np.random.default_rng((*puppet.key, 2))
    level, link = judged(puppet, options, rng)
    sign = int(np.sign(puppet.drawn))
    named = {}
    for field, shown, weights in (
        ("expression", puppet.expression, EXPRESSIONS[sign]),
        ("speaking_style", puppet.style, STYLE_WEIGHTS),
        ("tone", puppet.tone, TONES[sign]),
    ):
        errs = rng.random() < options.teacher_error
        others = {name: weight for name, weight in weights.items() if name != shown}
        named[field] = pick(others, rng) if errs else shown
    language = DOMAINS[options.domain].language
    return {
        "id": puppet.id,
        "polarity": POLARITIES[int(np.sign(level))],
        "think": _think(puppet.word, named, link, language),
        "score": level / 5,
    }


def _think(word: str, named: dict[str, str], link: str, language: str) -> str:
    facts = FACTS["ch_cems"]
    shown = {
        field: facts.chinese[field][facts.concepts[field].index(label)] if language == "zh" else label
        for field, label in named.items()
    }
    tags = {"expression": "facial_expression"}
    marks = [f"<{tags.get(field, field)}>{label}</{tags.get(field, field)}>" for field, label in shown.items()]
    return "\n".join([f"<concept>{word}</concept>", *marks, _LINKS[language][link]])
