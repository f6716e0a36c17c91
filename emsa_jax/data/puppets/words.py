"""What puppets say: short utterances from templates, with one word that carries the valence.

The tables are small on purpose: a policy of a million parameters, trained from scratch, has to learn them.
"""

import numpy as np

STYLES = ("Informational Interaction", "General Narrative Exposition")

# language -> valence (-2 strongly negative .. 2 strongly positive) -> valence words
VALENCE_WORDS = {
    "en": {
        -2: ("awful", "terrible", "horrible"),
        -1: ("poor", "dull", "weak"),
        0: ("ordinary", "usual", "average"),
        1: ("nice", "good", "pleasant"),
        2: ("wonderful", "superb", "brilliant"),
    },
    "zh": {
        -2: ("太糟了", "差极了", "非常糟糕"),
        -1: ("不太好", "有点差", "有点无聊"),
        0: ("很普通", "一般般", "和平时一样"),
        1: ("不错", "挺好的", "挺有意思"),
        2: ("太棒了", "好极了", "非常精彩"),
    },
}

TOPICS = {
    "en": ("film", "food", "room", "trip", "song", "game", "talk", "book"),
    "zh": ("电影", "饭菜", "房间", "旅行", "歌曲", "比赛", "演讲", "小说"),
}

# language -> speaking style -> templates: answering somebody, or telling a story
TEMPLATES = {
    "en": {
        STYLES[0]: ("Yes, the {topic} is {word}.", "You asked: this {topic} is {word}."),
        STYLES[1]: ("The {topic} was {word}.", "We thought that {topic} was {word}."),
    },
    "zh": {
        STYLES[0]: ("对，这{topic}{word}。", "你问的{topic}{word}。"),
        STYLES[1]: ("那天的{topic}{word}。", "我们觉得{topic}{word}。"),
    },
}


def utter(language: str, valence: int, style: str, rng: np.random.Generator) -> tuple[str, str]:
    """An utterance of the given valence and style -> (text, the valence word in it). At most 10 words."""
    word, topic, template = (
        str(rng.choice(choices))
        for choices in (VALENCE_WORDS[language][valence], TOPICS[language], TEMPLATES[language][style])
    )
    return template.format(topic=topic, word=word), word
