"""The terms by which a reasoning claims something: feelings and their sign, expressions, agreement, negation.

Each is a pair (English, Chinese) of regular expressions for plain text (`lexicon.plain`); English ones are whole words.
"""

import re

POSITIVE, NEUTRAL, NEGATIVE = "positive", "neutral", "negative"
WORDS, FACE, VOICE = "words", "face", "voice"
MODALITY_OF = {WORDS: "text", FACE: "video", VOICE: "audio"}  # what is claimed of -> the modality as the lexicon has it

# beside `lexicon.SPOKEN`
MENTIONS = {
    WORDS: (
        r"calls|textually|verbally|literally|literal meaning|messages?|question|he says|she says|lexical content",
        r"内容|话语|嘴上|台词",
    ),
    FACE: (r"visually|facially|seems to look|jaw|gazes?|grins?|grinning", r"神色|脸色|人脸|看起来|看上去"),
    VOICE: (r"hears?|acoustically|delivery of the voice|intonations?|speech|sounding|laughter", r"语气|嗓门"),
}
ALL = (
    r"all three(?: cues| clues| modalities| of them)?|all (?:modalities|cues|clues|signals)|everything",
    r"三者|三种线索|三个模态|所有线索|各种线索",
)

# what is good or bad: denied, it turns round
GOOD = (
    r"positiv\w+|fine|good|great|nice\w*|wonderful\w*|superb|brilliant|excellent|amazing|fantastic|lovely|pleasant|"
    r"favou?rabl\w+|friendly|kind(?! of)|encourag\w+|beautiful|perfect\w*|interesting|upbeat|optimistic|hopeful|"
    r"happ(?:y|ily|iness)|joy\w*|cheer\w*|pleased|delight\w*|glad|warm\w*|enthusias\w+|excit\w+|thrilled|proud\w*|"
    r"loves?|loved|loving|liked|enjoy\w*|content with|satisf\w+|lively|bright|light-hearted|energetic|animated|playful|"
    r"humou?r\w*|amus\w+|radiant|sparkl\w+|relaxed|affection\w*|tender",
    r"积极|正面|(?<!不)开心|(?<!不)高兴|喜悦|愉快|愉悦|欢快|欢喜|兴奋|热情|温暖|友好|喜欢|乐观|太棒|棒|好极|精彩|"
    r"挺好|不错|有意思|调皮|轻快|快乐|幸福|满意|自豪|好(?!像|奇|多)",
)
BAD = (
    r"negativ\w+|bad|worst|worse|terribl\w+|awful\w*|horribl\w+|poor|dull|weak|boring|bleak|unpleasant|disappointing|"
    r"hostile|unfriendly|unkind|rude|unfavou?rabl\w+|pessimistic",
    r"消极|负面|糟|差(?!不)|难听|难看|无聊|刻薄|悲观",
)
# feelings that are merely absent where they are denied
FEELING = (
    r"sad\w*|ang(?:er|ry|rily)|annoy\w*|irritat\w+|upset|unhappy|displeas\w+|disappoint(?:ed|ment)|bitter\w*|cold\w*|contempt\w*|"
    r"disdain\w*|sneer\w*|mock\w+|disgust\w*|furious|hat(?:e|es|ed|red)|harsh\w*|stern|gloom\w*|depress\w+|weary|"
    r"tired|tense|worr\w+|anxi\w+|nervous|afraid|fear\w*|miser\w+|regret\w*|dejected|downcast|despair\w*|hopeless|sour|"
    r"hurt|pain\w*|bored|heavy|sluggish|sinking|dropping|hesitant|sarcastic|frustrat\w+|grief|lonely|serious",
    r"悲伤|难过|伤心|愤怒|生气|怒|厌恶|嫌弃|讽刺|冷漠|冷淡|失望|绝望|痛苦|低落|低沉|沉重|哽咽|生硬|无力|"
    r"落寞|凶|不满|不耐烦|不开心|不高兴|沮丧|焦虑|害怕|烦|悲",
)
CALM = (
    r"neutral\w*|calm\w*|plain|ordinary|usual|average|blank|flat|monotone|monotonous|even|steady|matter-of-fact|"
    r"expressionless|unchanged|unmoved|factual|states? the|states? only|fact|(?:no|any|without|lacks) (?:\w+ )?emotion",
    r"中性|平静|平淡|平稳|普通|一般|陈述|自然|正常|平平|平时一样|(?:嘴角|比较|很)平(?!静|淡|稳)|没有变化|介绍|客观",
)
# expressions that say of what they are: (about, sign) -> terms
OWN = {
    (FACE, POSITIVE): (
        r"smil(?:e|es|ed|ing|ey)\b(?! (?:disappears|vanishes|fades))|grin\w*|beam\w*|eyes sparkle|"
        r"curv\w+ up\w*|corners? (?:\w+ ){0,5}up(?:wards)?",
        r"微?笑|嘴角(?:微微)?上扬|眼神明亮",
    ),
    (FACE, NEGATIVE): (
        r"frown\w*|scowl\w*|grimac\w*|glar(?:es?|ing)|eye-rolling|"
        r"roll\w* (?:\w+ )?eyes|knit(?:ted)?|furrow\w*|clench\w*|"
        r"narrow\w* eyes|tight lips|curv\w+ down\w*|(?:turn|turned|turning|pulled) down(?:wards)?|teary|tears|pout\w*|"
        r"smirk\w*|crying face",
        r"皱(?:着)?眉|眉头紧?皱|紧皱|撇嘴|瞪|哭|嘴角下垂|流泪|泪",
    ),
    (FACE, NEUTRAL): (
        r"poker face|level mouth|(?:no|any|without|lacks) (?:\w+ )?expression",
        r"(?:没有|毫无|面无)(?:任何)?表情|表情没有变化|嘴角平",
    ),
    (VOICE, POSITIVE): (r"laugh\w*|ris(?:ing|es?)", r"上升|语调上扬|高昂"),
    (VOICE, NEGATIVE): (
        r"trembl\w+|shak(?:y|ing)|shout\w*|yell\w*|sigh\w*|grumbl\w*|snarl\w*|fall(?:s|ing)|sob\w*|whin(?:es?|ing)",
        r"颤抖|叹|吼|下降|沙哑",
    ),
    (WORDS, POSITIVE): (
        r"prais\w+|compliment\w*|thank\w*|congratulat\w+|gratitude|grateful|honou?r(?:s|ed|ing)?|success\w*|"
        r"recommend\w*",
        r"感谢|赞美|赞扬|夸奖|祝贺|表扬",
    ),
    (WORDS, NEGATIVE): (
        r"complain\w*|critici[sz]\w*|critical|insult\w*|swear\w*|blam(?:e|es|ing)|curs(?:es|ing)|reproach\w*|accus\w+",
        r"抱怨|指责|批评|骂|责怪",
    ),
}
NOT = (
    r"neither|nor|not|no|n't|\w+n't|cannot|never|nothing|without(?! a? ?doubt)|far from|anything but|hardly|lacks?|"
    r"instead of|rather than",
    r"并不|并非|没有|不是|不太|毫无|不|没|无(?!聊|力)|非(?!常)",
)
AGREES = (
    r"agrees?|same (?:way|direction|feeling)|consistent\w*|unanimous|coherent|in line|match(?:es)?|fits?|converges?|"
    r"reinforces? each other|aligned|supports?|coincide|in harmony|congruent|corroborate\w*|line up",
    r"一致|吻合|相符|印证|指向同一|相同|统一",
)
CONFLICTS = (
    r"contradict\w*|conflict\w*|disagree\w*|mismatch\w*|diverges?|evidence is mixed|iron(?:y|ic)\w*|sarcasm|"
    r"inconsisten\w*|incongruent|another story|outweighs?|decides?|should not be believed|does not mean it|"
    r"not sincere|insincere|do not trust it|despite|teasing|opposite|nothing else does",
    r"矛盾|冲突|不一致|不符|相反|为准|反话|不能只看|不可信",
)
DECIDES = (r"outweighs?|decides?|prevails?", r"为准")
SPOKEN_FOR = r"so (?:is|are|does|do)"  # what was said of the one before holds of the next
CONCLUSION = (
    r"overall|on the whole|sentiment|polarity|score|hence|therefore|in sum|all in all|would say",
    r"整体|综合|总体|总的来|情感|极性|得分",
)
UNSURE = re.compile(
    r"\b(?:could|may|might|either|whether|tell)\b[^.]*\bor\b|(?:可能|也许|或许)[^。]{0,20}(?:也可能|或者?|还是)"
)
CONTRAST = r"(?<!anything )but|while|whereas|however|though|although|yet|because|which|then"

DEGREES = {
    "weak": (r"slight\w*|mild\w*|faint\w*|a little|somewhat|a bit", r"略|有些|有点|稍|微微|一点"),
    "strong": (
        r"broad\w*|clear\w*|very|deep\w*|wide\w*|strong\w*|big|extremely|ear to ear",
        r"明显|尽情|非常|很|极|大笑|太",
    ),
}
STRONG = (  # words that are of a high degree by themselves
    r"awful\w*|terribl\w+|horribl\w+|worst|wonderful\w*|superb|brilliant|excellent|amazing|fantastic|furious|thrilled|hates?",
    r"太糟|差极|非常糟|太棒|好极|非常精彩|绝望|愤怒",
)
# aspect -> value -> terms: what can be measured, without a sign
ASPECTS = {
    "brows": {
        "knit": (r"knit\w*|furrowed", r"皱"),
        "raised": (r"(?:brows|eyebrows) (?:\w+ )?(?:raised|lifted)", r"挑眉|扬眉"),
    },
    "contour": {
        "falling": (r"fall(?:s|ing)|dropping|sinking", r"下降"),
        "steady": (r"steady", r"平稳"),
        "rising": (r"ris(?:ing|es)", r"上升|上扬"),
    },
    "tempo": {
        "slow": (r"slow\w*|sluggish", r"慢"),
        "even": (r"even|moderate pace", r"适中"),
        "fast": (r"fast|quick\w*|rapid\w*", r"(?<![愉欢轻])快(?!乐)"),
    },
    "loudness": {"loud": (r"loud\w*", r"大声|响"), "soft": (r"soft\w*|quiet\w*", r"小声|轻声")},
}
