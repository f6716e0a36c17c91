"""What is known of each data set: range, classes, official sizes, licence, overlaps. Printed before it is prepared."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Counts = Mapping[str, int]

MER_CLASSES = ("neutral", "angry", "happy", "sad", "worried", "surprise")
MER_LICENCE = "the organisers' agreement: academic research, clips not to be edited or uploaded"
MMSA_LICENCE = "research, non-commercial, as its authors and the speakers' platforms allow"


@dataclass(frozen=True)
class Facts:
    """Of one data set. An empty field: nothing is known, or nothing official exists."""

    title: str
    language: str  # "en" | "zh": of the words
    licence: str
    score_range: tuple[float, float] = (-1.0, 1.0)  # what the set has no scores for keeps the default
    has_scores: bool = True
    classes: tuple[str, ...] = ()  # of `Sample.label`
    concepts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name -> values
    chinese: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name -> these values in Chinese, our wording
    sizes: Counts = field(default_factory=dict)  # official clips per split
    class_sizes: Mapping[str, Counts] = field(default_factory=dict)  # split or "all" -> class, or sign of score
    notes: tuple[str, ...] = ()  # overlaps and traps


def _signs(negative: int, neutral: int, positive: int) -> Counts:
    return {"negative": negative, "neutral": neutral, "positive": positive}


def _sizes(train: int, valid: int, test: int) -> Counts:
    return {"train": train, "valid": valid, "test": test}


def _meld(anger: int, disgust: int, fear: int, joy: int, neutral: int, sadness: int, surprise: int) -> Counts:
    return {
        "anger": anger,
        "disgust": disgust,
        "fear": fear,
        "joy": joy,
        "neutral": neutral,
        "sadness": sadness,
        "surprise": surprise,
    }


FACTS: dict[str, Facts] = {
    "cmu_mosi": Facts(
        title="CMU-MOSI",
        language="en",
        licence=MMSA_LICENCE,
        score_range=(-3.0, 3.0),
        sizes=_sizes(1284, 229, 686),
        class_sizes={"all": _signs(1023, 96, 1080), "test": _signs(379, 30, 277)},
        notes=("texts are in capitals, without punctuation",),
    ),
    "cmu_mosei": Facts(
        title="CMU-MOSEI",
        language="en",
        licence=MMSA_LICENCE,
        score_range=(-3.0, 3.0),
        sizes=_sizes(16326, 1871, 4659),
        class_sizes={"all": _signs(6594, 4998, 11264), "test": _signs(1350, 1025, 2284)},
        notes=("23,453 clips exist; the field's feature files hold the 22,856 counted here",),
    ),
    "ch_sims": Facts(
        title="CH-SIMS",
        language="zh",
        licence=MMSA_LICENCE,
        sizes=_sizes(1368, 456, 457),
        class_sizes={"all": _signs(1238, 345, 698), "test": _signs(248, 69, 140)},
        notes=(
            "the official split shares 59 of 60 videos between train and test: it says nothing of unseen videos",
            "all of it is inside CH-SIMS v2, in the same splits",
        ),
    ),
    "ch_sims_v2": Facts(
        title="CH-SIMS v2 (supervised part)",
        language="zh",
        licence=MMSA_LICENCE,
        sizes=_sizes(2722, 647, 1034),
        class_sizes={"all": _signs(2123, 533, 1747), "test": _signs(488, 123, 423)},
        notes=(
            "contains CH-SIMS with the same labels and splits: 457 of its 1,034 test clips are CH-SIMS's test",
            "128 videos are in train and in test",
            "the paper counts 4,402 clips, the released table 4,403; more clips come unlabelled",
        ),
    ),
    "ch_cems": Facts(
        title="CH-CEMS",
        language="zh",
        licence="as its authors state; no file format is published, ours is in docs/data_sets.md",
        concepts={
            "tone": (
                "casual",
                "happy",
                "sad",
                "wistful",
                "neutral",
                "surprised",
                "disgusted",
                "angry",
                "excited",
                "intimate",
                "nervous",
                "curious",
                "authoritative",
                "confident",
                "polite",
                "persuasive",
                "challenging",
                "disappointed",
                "indifferent",
                "expectant",
                "sarcastic",
            ),
            "expression": ("happy", "sad", "surprised", "neutral", "disgusted", "angry"),
            "speaking_style": ("Informational Interaction", "General Narrative Exposition"),
            "scenario": (
                "vox pops",
                "variety shows",
                "melodramas",
                "formal interviews",
                "vlogs",
                "science broadcasting",
            ),
            "interaction": ("single", "multi no interaction", "multi interactive"),
        },
        chinese={
            "tone": (
                "随意",
                "高兴",
                "悲伤",
                "惆怅",
                "中性",
                "惊讶",
                "厌恶",
                "愤怒",
                "激动",
                "亲密",
                "紧张",
                "好奇",
                "权威",
                "自信",
                "礼貌",
                "劝说",
                "质问",
                "失望",
                "冷漠",
                "期待",
                "讽刺",
            ),
            "expression": ("高兴", "悲伤", "惊讶", "中性", "厌恶", "愤怒"),
            "speaking_style": ("信息交流", "一般叙述"),
        },
        sizes=_sizes(2229, 743, 743),
        class_sizes={
            "train": _signs(506, 913, 810),
            "valid": _signs(169, 304, 270),
            "test": _signs(169, 304, 270),
        },
        notes=("scores are means of five annotators in {-1, 0, 1}: multiples of 0.2",),
    ),
    "meld": Facts(
        title="MELD",
        language="en",
        licence="GPL-3.0 for the annotation; the clips are of a television series",
        classes=("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"),
        sizes=_sizes(9989, 1109, 2610),
        class_sizes={
            "train": _meld(1109, 271, 268, 1743, 4710, 683, 1205),
            "valid": _meld(153, 22, 40, 163, 470, 111, 150),
            "test": _meld(345, 68, 50, 402, 1256, 208, 281),
        },
        notes=(
            "the score is the sentiment: -1, 0 or 1",
            "train's dia125_utt3.mp4 is damaged as released; some test clips come twice, the second cut is read",
        ),
    ),
    "mer2023": Facts(
        title="MER2023 and MER2025 track 1",
        language="zh",
        licence=MER_LICENCE,
        score_range=(-5.0, 5.0),
        classes=MER_CLASSES,
        notes=(
            "the score is the valence; test3 and MER2025's test have classes only",
            "MER2025 track 1 has 7,369 training clips, of 132,171 in all; there is no official valid part",
            "EMER and MERR annotate clips of MER2023",
        ),
    ),
    "mer_caption_plus": Facts(
        title="MER-Caption+ (MER2025 tracks 2 and 3)",
        language="zh",
        licence=MER_LICENCE,
        has_scores=False,
        sizes={"train": 31327},
        notes=("classes are open: lists of emotion words; OV-MERD is read from track2_train_ovmerd.csv, 332 clips",),
    ),
    "merr": Facts(
        title="MERR",
        language="zh",
        licence=MER_LICENCE + "; explanations by models, see Emotion-LLaMA's licence",
        score_range=(-5.0, 5.0),
        classes=(*MER_CLASSES, "fear", "contempt", "doubt"),
        notes=(
            "28,618 coarse and 4,487 fine explanations of MER2023 clips; emotions are pseudo-labels",
            "there is no official split",
        ),
    ),
    "emer": Facts(
        title="EMER",
        language="zh",
        licence=MER_LICENCE,
        has_scores=False,
        classes=("angry", "happy", "worried", "sad", "surprise"),
        class_sizes={"all": {"angry": 36, "happy": 32, "worried": 17, "sad": 11, "surprise": 4}},
        notes=(
            "v1 explains 100 clips of MER2023 (counted here), v2 332; there is no official split",
            "v2's 332 clips are OV-MERD's; R1-Omni's cold start trains on 232 clips of EMER",
        ),
    ),
    "conversations": Facts(
        title="conversations json (DFEW, MAFW as R1-Omni and HumanOmni pass them around)",
        language="en",
        licence="that of the data sets inside; DFEW and MAFW: academic agreements",
        has_scores=False,
        notes=("no words are in it: video and sound alone", "R1-Omni trains on 15,306 clips of DFEW and MAFW"),
    ),
    "emotion_llama": Facts(
        title="Emotion-LLaMA's index and explanations",
        language="zh",
        licence=MER_LICENCE,
        score_range=(-5.0, 5.0),
        classes=(*MER_CLASSES, "fear", "contempt", "doubt"),
        notes=("the score is the valence, where the index has one; see merr for what the explanations are",),
    ),
    "plain": Facts(title="plain table", language="en", licence="yours"),
}


def facts_of(name: str) -> Facts:
    """What is known of a data set; those of a plain table for "", or for a reader that nothing is known of."""
    return FACTS.get(name, FACTS["plain"])


def describe(name: str) -> list[str]:
    """Lines to print before the data set is prepared."""
    facts = facts_of(name)
    low, high = facts.score_range
    lines = [
        f"{facts.title}: language {facts.language}, "
        + (f"scores in [{low:g}, {high:g}]" if facts.has_scores else "no scores")
    ]
    if facts.classes:
        lines.append(f"classes: {', '.join(facts.classes)}")
    lines += [f"{concept}: {', '.join(values)}" for concept, values in facts.concepts.items()]
    if facts.sizes:
        lines.append("official sizes: " + ", ".join(f"{split} {count:,}" for split, count in facts.sizes.items()))
    for split, counts in facts.class_sizes.items():
        lines.append(f"official classes of {split}: " + ", ".join(f"{label} {n:,}" for label, n in counts.items()))
    return [*lines, f"licence: {facts.licence}", *(f"note: {note}" for note in facts.notes)]
