"""Reading answers with marked concepts. As that of DC answers, the reader assumes a writer paid to find its holes:

- think: the text between the only opening and the only closing tag; a letter or digit must stand in it, outside of
  tags. Where either is absent or repeated, nothing stands inside the reasoning, and no concept has a value.
- A concept's value is read from pairs of its tag, or of an alias, inside the reasoning. It has none if any of its tags
  stands outside the reasoning, inside another tag, or without its partner in the same spelling; if a label is not
  one of the table's; or if two pairs disagree. Saying the same twice is no fault: reasoning may come back to a cue.
- A tag inside the reasoning that is opened and not closed, by itself or an alias, holds all tags up to the
  reasoning's end.
- sentiment: read from the only pair of its tags, holding no other tag, outside the reasoning.
- Labels count in any ASCII case, in each language of the table; nothing else does.
- `<concept>...</concept>` marks further cues, with any text; it is held to the same rules of nesting and place.
- `well_formed`: everything has a value, reasoning before sentiment, nothing but white space outside of them, no fault
  of any tag, no null byte, no spelling of a special token.
- Never raises, and takes time linear in the length of the text.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from emsa_jax.answers.answer_format import Answer
from emsa_jax.answers.concept_table import FREE, SENTIMENT, THINK, Concept, Labels
from emsa_jax.answers.labels import polarity_of_sentiment
from emsa_jax.answers.tags import Tag, is_clean, is_visible, scan

REPEATED, CONTRADICTS = "sentiment is repeated", "contradicts itself"  # notes that rewards look for


def stands_for(table: Sequence[Concept]) -> dict[str, str]:
    """Every tag that is looked for -> the concept's name, or itself."""
    tags = {tag: c.name for c in table for tag in (c.tag, *c.aliases)}
    return {THINK: THINK, SENTIMENT: SENTIMENT, FREE: FREE} | tags


def read_answer(text: str, table: Sequence[Concept], sentiments: Labels) -> Answer:
    """Reads any text whatever; see the module's rules."""
    names = stands_for(table)
    tags = scan(text, tuple(names))
    notes: dict[str, None] = {}  # each once, in order
    reasoning, pair = _only_pair(tags, THINK, notes), _only_pair(tags, SENTIMENT, notes)
    first, last = reasoning or (0, 0)
    think = text[tags[first].end : tags[last].start].strip() if reasoning else None
    if think is not None and not any(is_visible(text[a.end : b.start]) for a, b in pairwise(tags[first : last + 1])):
        think = _fault(notes, "think is empty")
    outside = [*tags[:first], *tags[last + 1 :]] if reasoning else tags
    read, free = _read_marks(text, tags[first + 1 : last], outside, names, table, notes)

    sentiment = None
    if pair and pair[1] != pair[0] + 1:
        _fault(notes, "sentiment holds another tag")
    elif pair and reasoning and first < pair[0] < last:
        _fault(notes, "sentiment stands inside think")
    elif pair:
        sentiment = sentiments.read(text[tags[pair[0]].end : tags[pair[1]].start])
        if sentiment is None:
            _fault(notes, "sentiment is not one of " + ", ".join(sentiments.known))
    if pair and reasoning and pair[0] < last:
        _fault(notes, "tags are out of order")
    elif pair and reasoning and any(text[a:b].strip() for a, b in _between(tags, reasoning, pair, len(text))):
        _fault(notes, "text stands outside the tags")
    if not is_clean(text):
        _fault(notes, "a null byte or special token")
    concepts = tuple((c.name, read[c.name]) for c in table if read.get(c.name))
    polarity = polarity_of_sentiment(sentiment) if sentiment else None
    return Answer(
        polarity=polarity, think=think, sentiment=sentiment, concepts=concepts, free=tuple(free), notes=tuple(notes)
    )


def _read_marks(
    text: str,
    inside: Sequence[Tag],
    outside: Sequence[Tag],
    names: Mapping[str, str],
    table: Sequence[Concept],
    notes: dict[str, None],
) -> tuple[dict[str, str | None], list[str]]:
    """(name -> label, None where a fault took its value away; the texts of free marks)."""
    labels = {c.name: c.labels for c in table}
    read: dict[str, str | None] = {}
    free = []
    for tag in outside:
        if tag.name not in (THINK, SENTIMENT):
            read[names[tag.name]] = _fault(notes, f"{names[tag.name]} stands outside think")
    said: dict[str, str] = {}  # the first label of each, whatever else is wrong with it
    held: Counter[str] = Counter()  # how many of each are open
    i = 0
    while i < len(inside):
        tag, name = inside[i], names[inside[i].name]
        after = inside[i + 1] if i + 1 < len(inside) else tag
        if tag.closing or not after.closing or after.name != tag.name:
            read[name] = _fault(notes, f"{name} holds another tag, or is not closed")
            if not tag.closing:
                held[name] += 1
            elif held[name]:
                held[name] -= 1
            i += 1
            continue
        content = text[tag.end : after.start]
        i += 2
        if any(held.values()):
            read[name] = _fault(notes, f"{name} stands inside another tag")
        elif name == FREE:
            free += [content.strip()] if content.strip() else []
        elif name in labels:
            label = labels[name].read(content)
            if label is None:
                read[name] = _fault(notes, f"{name} has an unknown label")
            elif said.setdefault(name, label) != label:
                read[name] = _fault(notes, f"{name} {CONTRADICTS}")
            else:
                read.setdefault(name, label)
    for concept in table:
        if concept.name not in read:
            _fault(notes, f"{concept.name} is absent")
    return read, free


def _only_pair(tags: Sequence[Tag], name: str, notes: dict[str, None]) -> tuple[int, int] | None:
    """Places of the only opening and the only closing tag of a name, in this order; or None, and a note."""
    at = [i for i, tag in enumerate(tags) if tag.name == name]
    closing = sum(tags[i].closing for i in at)
    if not at:
        return _fault(notes, f"{name} is absent")
    if closing > 1 or len(at) - closing > 1:
        return _fault(notes, f"{name} is repeated")
    if len(at) < 2 or tags[at[0]].closing:
        return _fault(notes, f"{name} is not closed")
    return at[0], at[1]


def _between(
    tags: Sequence[Tag], reasoning: tuple[int, int], pair: tuple[int, int], length: int
) -> tuple[tuple[int, int], ...]:
    """The stretches before, between and after the two pairs."""
    return ((0, tags[reasoning[0]].start), (tags[reasoning[1]].end, tags[pair[0]].start), (tags[pair[1]].end, length))


def _fault(notes: dict[str, None], note: str) -> None:
    notes[note] = None
