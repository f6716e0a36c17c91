"""The words by which a reasoning shows what it speaks of: modalities, their absence, labels that were given away."""

import re
import unicodedata

# (English, Chinese). What counts as speaking of a modality that is there: wide
SPOKEN = {
    "text": (
        r"words?|wording|text|textual|utterances?|says?|said|saying|statement|states|phras\w+|dialogue|verbal\w*|"
        r"sentences?|transcript|language|lexical|remarks?|describ\w+",
        r"文字|文本|话语|言语|台词|语句|对话|用词|措辞|说|话|词|句",
    ),
    "audio": (
        r"voice|vocal\w*|tone|pitch|audio|intonation|loud\w*|volume|tempo|speech rate|speaking rate|sounds?|"
        r"acoustic\w*|prosod\w+|speaks? (?:slowly|quickly|fast|softly)",
        r"声音|语气|语调|音调|音量|语速|音频|嗓音|声调|声线|听",
    ),
    "video": (
        r"face|facial\w*|expressions?|smil\w+|frown\w*|gaze|eyes?|eyebrows?|brows?|mouth|lips?|visual\w*|video|frames?|"
        r"images?|gestur\w+|posture|body language|head|looks?",
        r"表情|面部|脸|神情|神态|眼|嘴|眉|微笑|画面|视频|图像|手势|动作|姿态|姿势",
    ),
}
# what counts as a claim about one that is not there: narrow, since a sentence has a tone, too
CLAIMED = {
    "text": (r"words|wording|utterances?|transcript|dialogue", r"文字|文本|台词|话语|用词"),
    "audio": (
        r"voice|vocal\w*|pitch|audio|intonation|loudness|volume|speech rate|speaking rate|acoustic\w*|prosod\w+",
        r"声音|语调|音调|音量|语速|音频|嗓音|声调",
    ),
    "video": (
        r"face|facial\w*|smil(?:e|es|ing)|frown\w*|gaze|eyebrows?|brows|mouth|lips|visual\w*|video|gestures?",
        r"表情|面部|脸上|眼神|眉|嘴角|微笑|画面|视频|手势",
    ),
}
# that there is none, or that it cannot be perceived, said shortly before or after the word
_NONE = (
    r"(?:\b(?:no|without|lacks?|lacking|neither|nor|cannot (?:see|hear)|can't (?:see|hear))\W+(?:\w+\W+){0,3}|"
    r"(?:没有|无|缺少|缺乏|看不到|听不到)\w{0,4})$"
)
_GONE = (
    r"^\W*(?:\w+\W+){0,2}(?:(?:not|n't|never)\W+(?:available|there|shown|provided|visible|audible|heard|seen|present|"
    r"included)|missing|absent|unavailable|lacking|none|n/a)|^\w{0,4}(?:缺失|不可用|没有提供|不存在|未提供)"
)
_GIVEN = r"given|provided|stated|supplied|known|specified|assigned|indicated"
_THING = r"sentiment|polarity|score|emotion|answer|concept|clue|class|rating"
LEAKS = (
    r"\blabel(?:s|ed|led|ling)?\b",
    r"\bannotat\w+",
    r"\bground[\s-]?truth\b",
    r"\bgold(?:en)? (?:standard|answer)\b",
    rf"\b(?:{_GIVEN})\s+(?:final\s+|overall\s+|true\s+|correct\s+)?(?:{_THING})s?\b",
    rf"\b(?:{_THING})s?\s+(?:that\s+)?(?:is|are|was|were|has been|have been)\s+(?:already\s+)?(?:{_GIVEN})\b",
    r"\b(?:i|we)\s+(?:am|are|was|were|have been)\s+(?:told|informed|given)\b",
    r"\bas (?:told|instructed|provided|given)\b",
    rf"\b(?:true|correct|actual)\s+(?:{_THING})s?\b",
    r"\bthe prompt\b",
    "标签|标注|正确答案|提示词",
    "真实的?(?:情感|极性|得分|分数|类别)",
    "(?:给定|给出|已知|提供|题目|预设)[的了]?(?:最终)?(?:情感|极性|得分|分数|概念|线索|答案|类别)",
    "(?:情感|极性|得分|分数|答案)[已被]?经?(?:给定|给出|告知|设定)",
)

NEAR = 60  # characters

_CLAUSE = re.compile(r"[.!?;,。！？；，\n]")
_TAG = re.compile(r"</?[a-z_]{1,40}>")
_UNIT = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W\d_]+(?:['’][^\W\d_]+)*|\d+")
_CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_LATIN = re.compile(r"[a-zA-Z\u00c0-\u024f]")


def plain(text: str) -> str:
    """A reasoning without its tags, in one form of each character, in lower case."""
    return _TAG.sub(" ", unicodedata.normalize("NFKC", text)).casefold()


def _pattern(words: tuple[str, str]) -> re.Pattern:
    return re.compile(rf"\b(?:{words[0]})\b|(?:{words[1]})")


_SPOKEN, _CLAIMED = ({name: _pattern(words) for name, words in table.items()} for table in (SPOKEN, CLAIMED))
_BEFORE, _AFTER = re.compile(_NONE), re.compile(_GONE)
_LEAKS = [re.compile(pattern) for pattern in LEAKS]


def speaks_of(text: str, modality: str) -> bool:
    """Whether a plain text speaks of "text", "audio" or "video"."""
    return _SPOKEN[modality].search(text) is not None


def claims(text: str, modality: str) -> str:
    """The first word by which a plain text claims something about a modality, "" if none does. That there is none is no
    claim."""
    for clause in _CLAUSE.split(text):
        for found in _CLAIMED[modality].finditer(clause):
            before, after = clause[max(found.start() - NEAR, 0) : found.start()], clause[found.end() :][:NEAR]
            if not _BEFORE.search(before) and not _AFTER.search(after):
                return found[0]
    return ""


def leak(text: str, further: tuple[str, ...] = ()) -> str:
    """The first words by which a plain text speaks of a label that was given, "" if none do."""
    for pattern in _LEAKS:
        if found := pattern.search(text):
            return found[0]
    return next((phrase for phrase in further if plain(phrase) in text), "")


def units(text: str) -> list[str]:
    """Words, and Chinese characters one by one."""
    return _UNIT.findall(text)


def repetition(words: list[str], n: int = 4) -> float:
    """The share of the runs of n units that stood there before."""
    runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def written_in(words: list[str], language: str) -> bool:
    """Whether most units are of "zh", or nearly all of "en"; any other language holds."""
    letters = [word for word in words if not word.isdigit()]
    chinese = sum(bool(_CJK.match(word)) for word in letters)
    latin = sum(bool(_LATIN.match(word)) for word in letters)
    if language == "zh":
        return chinese >= 0.6 * len(letters)
    return language != "en" or latin >= 0.8 * len(letters)
