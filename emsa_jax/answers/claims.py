"""Reading what a reasoning claims: the sign of words, face and voice, and whether they agree.

A claim is (about, sign): of "words", "face" or "voice" it is "positive", "neutral" or "negative", of "agreement" "yes"
or "no". The reader goes by terms (`claim_terms`), clause by clause, and assumes a writer paid to find its holes: it
reads any text whatever in linear time, never raises, and a text that claims both signs has claimed both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from emsa_jax.answers import claim_terms as terms
from emsa_jax.answers import lexicon
from emsa_jax.answers.claim_terms import FACE, MODALITY_OF, NEGATIVE, NEUTRAL, POSITIVE, VOICE, WORDS
from emsa_jax.answers.lexicon import SPOKEN, plain

AGREEMENT, YES, NO = "agreement", "yes", "no"
ABOUT = (WORDS, FACE, VOICE)
LONGEST = 8_000  # characters that are read of a reasoning
NEAR_NOT = 28  # characters between a negation and what it denies, at most
NEAR_TERMS = 8  # terms that are looked at around another

Claim = tuple[str, str]


@dataclass(frozen=True)
class Claims:
    """What a reasoning claims. stated: the claims. deciding: which of words, face and voice are said to decide. finer:
    (aspect, value) of what can be measured: ("face degree", "strong"), ("tempo", "fast")."""

    stated: frozenset[Claim] = frozenset()
    deciding: frozenset[str] = frozenset()
    finer: frozenset[Claim] = frozenset()

    def signs(self, about: str) -> set[str]:
        """All signs that are claimed of one of `ABOUT`, or of the agreement."""
        return {sign for name, sign in self.stated if name == about}

    def only(self, kept: Collection[str]) -> Claims:
        """The same without what is claimed of words, face or voice that are not in `kept`."""
        stated = frozenset(claim for claim in self.stated if claim[0] in (*kept, AGREEMENT))
        return Claims(stated, self.deciding & set(kept), self.finer)

    def sign(self, about: str) -> str | None:
        """The one sign that is claimed; None without any, or with several."""
        found = self.signs(about)
        return found.pop() if len(found) == 1 else None


class _Term(NamedTuple):
    start: int
    end: int
    kind: str
    value: str
    about: str


def _alternatives() -> list[tuple[str, str, str, tuple[str, str]]]:
    """(kind, value, about, terms), what is more special first."""
    mentions = [
        ("mention", "", about, tuple(f"{SPOKEN[MODALITY_OF[about]][i]}|{more[i]}" for i in range(2)))
        for about, more in terms.MENTIONS.items()
    ]
    return [
        ("conflicts", "", AGREEMENT, terms.CONFLICTS),
        ("agrees", "", AGREEMENT, terms.AGREES),
        *(("own", sign, about, pair) for (about, sign), pair in terms.OWN.items()),
        ("feeling", NEGATIVE, "", terms.FEELING),
        ("bad", NEGATIVE, "", terms.BAD),
        ("good", POSITIVE, "", terms.GOOD),
        ("calm", NEUTRAL, "", terms.CALM),
        ("conclusion", "", "", terms.CONCLUSION),
        ("all", "", "", terms.ALL),
        *mentions,
        ("not", "", "", terms.NOT),
        ("like", "", "", (terms.SPOKEN_FOR, r"(?!)")),
    ]


def _pattern(pair: tuple[str, str]) -> re.Pattern:
    return re.compile(rf"\b(?:{pair[0]})\b|(?:{pair[1]})")


_ASPECTS = {name: {value: _pattern(pair) for value, pair in values.items()} for name, values in terms.ASPECTS.items()}
_STRONG, _WEAK, _MARKED = (_pattern(p) for p in (terms.DEGREES["strong"], terms.DEGREES["weak"], terms.STRONG))
_ALL = re.compile(r"\ball\b|都")
_DECIDES = re.compile(rf"(?:{terms.DECIDES[0]})|(?:{terms.DECIDES[1]})")
_KINDS = _alternatives()
_TERMS = re.compile("|".join(rf"(?P<t{i}>\b(?:{en})\b|(?:{zh}))" for i, (*_, (en, zh)) in enumerate(_KINDS)))
_SENTENCE = re.compile(r"[.!?。！？\n]+(?=\s|\W|$|[\u3400-\u9fff])|(?<![\w.])\d+[.)](?!\d)")
_CLAUSE = re.compile(
    rf"[,;:，；：—()（）]|\s-\s|\b(?:{terms.CONTRAST})\b|(?:但是|可是|不过|但|却|而(?!且)|虽然|虽|所以|因此)"
)
_JOINED = re.compile(r"^(?:\s|the|his|her|that of|and|nor|or|both|as well as|、|和|与|以及|也|a|of|,)*$")
_BESIDE = re.compile(r"^(?:[\s\-,]|的|and |地)*$")  # between adjectives
_BEFORE_NOUN = re.compile(r"^[\s\-]*的?$")
_NAMING = ("mention", "not", "all")
_SIGNED = ("good", "bad", "feeling", "calm")


def read_claims(think: str | None) -> Claims:
    """The claims of a reasoning; none of None. Any text can be given."""
    if not think:
        return Claims()
    text = plain(think[:LONGEST])
    found = _Found()
    for start, end in _pieces(_SENTENCE, text, 0, len(text)):
        _read_sentence(text, start, end, found)
    return Claims(frozenset(found.claims), frozenset(found.deciding), frozenset(found.finer))


def supported(found: Claims) -> str | None:
    """The polarity that the stated evidence supports ("Positive", "Neutral", "Negative"), None where it supports none.

    It is the sign of what is said to decide; else the one that most of words, face and voice have. What is claimed
    with several signs counts for nothing; a tie supports nothing."""
    asked = [about for about in ABOUT if about in found.deciding] or ABOUT
    signs = Counter(sign for about in asked if (sign := found.sign(about)))
    ranked = signs.most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0].capitalize()


def agreement(signs: Iterable[str | None]) -> str | None:
    """Whether the signs of what was shown agree: "no" as soon as two differ, "yes" if there are several, all known and
    equal; None where that cannot be told."""
    known = list(signs)
    if len({sign for sign in known if sign}) > 1:
        return NO
    return YES if len(known) > 1 and all(known) else None


def falsely_agrees(found: Claims) -> bool:
    """Whether it is claimed that all agree, beside claims of words, face and voice that differ."""
    return YES in found.signs(AGREEMENT) and len({sign for about in ABOUT for sign in found.signs(about)}) > 1


def not_shown(think: str | None, found: Claims, shown: Collection[str]) -> list[str]:
    """Which of words, face and voice something is claimed of although the policy was not given them.

    shown: of "text", "audio" and "video"."""
    text = plain((think or "")[:LONGEST])
    absent = [about for about in ABOUT if MODALITY_OF[about] not in shown]
    return [about for about in absent if found.signs(about) or lexicon.claims(text, MODALITY_OF[about])]


@dataclass
class _Found:
    claims: set[Claim] = field(default_factory=set)
    deciding: set[str] = field(default_factory=set)
    finer: set[Claim] = field(default_factory=set)


def _pieces(pattern: re.Pattern, text: str, start: int, end: int) -> Iterable[tuple[int, int]]:
    for found in pattern.finditer(text, start, end):
        yield start, found.start()
        start = found.end()
    yield start, end


def _read_sentence(text: str, start: int, end: int, found: _Found) -> None:
    """Adds the claims of a sentence: of one thing, a feeling stands over a neutral sign."""
    clauses = _clauses(text, start, end)
    claims: list[Claim] = []
    carried: tuple[str, ...] = ()
    for i, (a, b, clause) in enumerate(clauses):
        later = next((_group(text, rest, 0) for *_, rest in clauses[i + 1 : i + 4] if any(map(_about, rest))), ())
        carried = _read_clause(text, a, clause, carried, later, claims, found)
        found.finer |= _finer(text[a:b], clause, carried)
    felt = {about for about, sign in claims if sign in (POSITIVE, NEGATIVE)}
    found.claims |= {(about, sign) for about, sign in claims if sign != NEUTRAL or about not in felt}


def _clauses(text: str, start: int, end: int) -> list[tuple[int, int, list[_Term]]]:
    """(start, end, terms) of each; "the words, the face and the voice" is not divided."""
    found: list[tuple[int, int, list[_Term]]] = []
    for a, b in _pieces(_CLAUSE, text, start, end):
        clause = _scan(text, a, b)
        before = found[-1] if found else None
        listed = before and before[2] and text[before[1]] in ",，" and all(t.kind in _NAMING for t in before[2])
        if listed and clause and _JOINED.match(text[before[2][-1].end : clause[0].start].replace("，", ",")):
            found[-1] = (before[0], b, before[2] + clause)
        else:
            found.append((a, b, clause))
    return found


def _scan(text: str, start: int, end: int) -> list[_Term]:
    found = []
    for match in _TERMS.finditer(text, start, end):
        kind, value, about, _ = _KINDS[int(match.lastgroup[1:])]
        found.append(_Term(match.start(), match.end(), kind, value, about))
    return found


def _about(term: _Term) -> bool:
    return term.kind in ("mention", "own", "all")


def _group(text: str, clause: list[_Term], at: int, back: bool = False) -> tuple[str, ...]:
    """What is spoken of together from a place on (with `back`, up to it): "the face and the voice"."""
    order = clause[max(at - NEAR_TERMS, 0) : at][::-1] if back else clause[at : at + NEAR_TERMS]
    group: dict[str, None] = {}
    last = None
    for term in order:
        if term.kind == "not":
            continue
        if not _about(term):
            if group:
                break
            continue
        if last is not None:
            first, second = sorted((last, term))
            if not _JOINED.match(text[first.end : second.start]):
                break
        group |= dict.fromkeys(ABOUT if term.kind == "all" else (term.about,))
        last = term
    return tuple(group)


def _read_clause(
    text: str, start: int, clause: list[_Term], carried: tuple, later: tuple, claims: list[Claim], found: _Found
) -> tuple[str, ...]:
    """Adds what a clause claims -> what it speaks of. carried, later: what was spoken of before, and will be after."""
    concludes = any(term.kind == "conclusion" for term in clause)
    signs = {term.value for term in clause if term.kind in _SIGNED}
    torn = {POSITIVE, NEGATIVE} <= signs  # "neither happy nor sad", "happy or sad"
    if torn and terms.UNSURE.search(text, clause[0].start - min(clause[0].start - start, NEAR_NOT), clause[-1].end):
        clause = [term for term in clause if term.kind not in _SIGNED]
    spoken: tuple[str, ...] = ()
    for i, term in enumerate(clause):
        denied = _denied(clause, i)
        if term.kind in ("agrees", "conflicts"):
            _add_agreement(text, clause, i, denied, claims, found)
        elif term.kind == "own":
            claims.append((term.about, NEUTRAL if denied and term.about != WORDS else _turned(term, denied)))
        elif term.kind == "like" and claims:
            sign = next((sign for about, sign in reversed(claims) if about != AGREEMENT), None)
            claims += [(about, sign) for about in _group(text, clause, i) if sign]
            if all((about, sign) in claims for about in ABOUT):
                claims.append((AGREEMENT, YES))
        elif term.kind in _SIGNED:
            about = _subject(text, clause, i)
            if not about and not concludes:
                about = carried or later
            sign = NEUTRAL if torn and denied else _turned(term, denied)
            claims += [(one, sign) for one in about]
            if set(about) == set(ABOUT) and (
                _ALL.search(text, start, term.end) or any(t.kind == "all" for t in clause)
            ):
                claims.append((AGREEMENT, YES))
        if _about(term):
            spoken = _group(text, clause, i) if not spoken else spoken
            spoken = ABOUT if term.kind == "all" else spoken
    return spoken or (() if concludes else carried)


def _finer(text: str, clause: list[_Term], spoken: tuple[str, ...]) -> set[Claim]:
    """What a clause says of degrees, brows and the course, speed and loudness of the voice."""
    aspects = {VOICE: ("contour", "tempo", "loudness"), FACE: ("brows",)}
    found = set()
    for aspect in (aspect for about, names in aspects.items() if about in spoken for aspect in names):
        found |= {(aspect, value) for value, pattern in _ASPECTS[aspect].items() if pattern.search(text)}
    if any(term.value in (POSITIVE, NEGATIVE) for term in clause):
        strong, weak = _STRONG.search(text), _WEAK.search(text)
        by_itself = WORDS in spoken and not weak and _MARKED.search(text)
        if strong or by_itself or weak or spoken == (WORDS,):
            found |= {(f"{about} degree", "strong" if strong or by_itself else "weak") for about in spoken}
    return found


def _subject(text: str, clause: list[_Term], i: int) -> tuple[str, ...]:
    """What a sign is a sign of: the noun that it stands before, or what was spoken of before it, or after it."""
    last = clause[i].end
    for j in range(i + 1, min(i + NEAR_TERMS, len(clause))):
        between = text[last : clause[j].start]
        if clause[j].kind == "mention" and _BEFORE_NOUN.match(between):
            return (clause[j].about,)
        if clause[j].kind not in _SIGNED or not _BESIDE.match(between):
            break
        last = clause[j].end
    return _group(text, clause, i, back=True) or _group(text, clause, i)


def _denied(clause: list[_Term], i: int) -> bool:
    """Whether a negation stands shortly before a term, without another sign between."""
    for before in reversed(clause[:i]):
        if before.kind in (*_SIGNED, "own", "agrees", "conflicts") or clause[i].start - before.end > NEAR_NOT:
            return False
        if before.kind == "not":
            return True
    return False


def _turned(term: _Term, denied: bool) -> str:
    """The sign of a term; of one that is denied, the opposite, or none where a feeling is merely absent."""
    if not denied:
        return term.value
    return {POSITIVE: NEGATIVE, NEUTRAL: NEUTRAL}.get(term.value, NEUTRAL if term.kind == "feeling" else POSITIVE)


def _add_agreement(text: str, clause: list[_Term], i: int, denied: bool, claims: list[Claim], found: _Found) -> None:
    term = clause[i]
    decides = _DECIDES.fullmatch(text[term.start : term.end])
    claims.append((AGREEMENT, YES if (term.kind == "agrees") != denied and not decides else NO))
    if decides and not denied:
        found.deciding |= set(_group(text, clause, i, back=True))
