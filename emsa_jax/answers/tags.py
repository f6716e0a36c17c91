"""Finding tags in hostile text, in time linear in its length.

A tag is exactly `<name>` or `</name>`: no spaces, no attributes, the name in any ASCII case. Everything else,
look-alikes from other scripts included, is text.
"""

import string
from collections.abc import Sequence
from typing import NamedTuple

# str.lower() would change lengths and turn the Kelvin sign into "k".
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")  # Hangul fillers: letters that nobody sees


class Tag(NamedTuple):
    """One tag: text[start:end] is its spelling."""

    start: int
    end: int
    name: str
    closing: bool


def scan(text: str, names: Sequence[str]) -> list[Tag]:
    """All tags of the given lower-case names, in the order in which they stand in the text."""
    lower = text.lower() if text.isascii() else text.translate(_ASCII_LOWER)
    found = []
    for name in names:
        for needle, closing in ((f"<{name}>", False), (f"</{name}>", True)):
            start = lower.find(needle)
            while start >= 0:
                end = start + len(needle)
                found.append(Tag(start, end, name, closing))
                start = lower.find(needle, end)
    return sorted(found)


def is_clean(text: str) -> bool:
    """No null byte and nothing that spells a special token (`<|im_end|>` and its kin)."""
    return "\x00" not in text and "<|" not in text


def is_visible(text: str) -> bool:
    """Whether there is at least one letter or digit that somebody could see."""
    return any(c.isalnum() and c not in _BLANK_LETTERS for c in text)
