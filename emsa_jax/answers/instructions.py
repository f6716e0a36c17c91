"""Instructions of a user's own in place of those of an answer format: a JSON file

    {"en": {"both": "...", "visual": "...", "audio": "..."}, "zh": {...}}

of what is asked, by language and by what it is asked about. "{words}" stands for the utterance, which follows the
instruction where that is not written; a language or way that is absent is asked as the format asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emsa_jax.answers.concept_table import LANGUAGES
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_json

WAYS = ("both", "visual", "audio")
WORDS = "{words}"

Instructions = Mapping[str, Mapping[str, str]]  # language -> way -> text


def read_instructions(path: str | Path) -> Instructions:
    """The instructions of a file; none for "". Raises: InputError naming the file, the language and the way."""
    if not path:
        return {}
    content, where = read_json(path, "prompt.instructions"), f"prompt.instructions: {path}"
    if not isinstance(content, dict) or not content:
        raise InputError(f'{where} must be an object of languages, such as {{"en": {{"both": "..."}}}}')
    for language, texts in content.items():
        if language not in LANGUAGES:
            raise InputError(f"{where}: {language!r} is none of {', '.join(LANGUAGES)}")
        if not isinstance(texts, dict) or not texts or not texts.keys() <= set(WAYS):
            raise InputError(f"{where}: {language} must hold texts under {', '.join(WAYS)}")
        for way, text in texts.items():
            if not isinstance(text, str) or not text.strip() or "\x00" in text:
                raise InputError(f"{where}: {language}.{way} must be a text")
    return content
