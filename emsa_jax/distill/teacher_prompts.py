"""What a teacher is asked, from template files that a user can edit.

A template is a Jinja file `<name>.<language>.txt`: the system message, a line of `---`, the user message. It may use
  utterance                        the words, on one line; "" without any
  has_text, has_audio, has_video   what is shown
  shown, absent                    the names of what is shown, and of what is not
  low, high, polarities, form      the score range; the three classes; how the answer format asks for an answer
  sentiment, marks                 what is true: the class; the concepts, each as its format marks it
  label, original                  how others named the feeling, and what they wrote about the clip; "" where nothing
  answer                           refine, judge: the text that it is about
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.answers.labels import POLARITIES
from emsa_jax.data.data_options import MODALITIES
from emsa_jax.data.records import Entry
from emsa_jax.distill.checks import Truth
from emsa_jax.errors import InputError

OURS = Path(__file__).parent / "templates"
LANGUAGES = ("en", "zh")
_NAMES = {
    "en": {"text": "words", "audio": "sound", "video": "picture"},
    "zh": {"text": "文字", "audio": "声音", "video": "画面"},
}


@dataclass(frozen=True)
class Prompts:
    """The templates of a run: (name, language) -> (system, user), and what they are by hash."""

    templates: dict[tuple[str, str], tuple[jinja2.Template, jinja2.Template]]
    hashes: dict[str, str]  # file name -> sha256

    def fill(self, name: str, entry: Entry, truth: Truth, format: AnswerFormat, answer: str = "") -> tuple[str, str]:
        """The (system, user) message about a sample. Raises InputError naming the template that fails."""
        language = truth.language if truth.language in LANGUAGES else LANGUAGES[0]
        given = {kind: kind in truth.modalities for kind in MODALITIES}
        words = _NAMES[language]
        low, high = format.score_range
        sentiment, marks = format.wording(format.truth(truth), language)
        values = {
            "utterance": spoken(entry) if given["text"] else "",
            **{f"has_{kind}": has_it for kind, has_it in given.items()},
            "shown": [words[kind] for kind in MODALITIES if given[kind]],
            "absent": [words[kind] for kind in MODALITIES if not given[kind]],
            "low": f"{low:g}",
            "high": f"{high:g}",
            "polarities": list(POLARITIES),
            "form": format.ask(truth.modalities, language).partition("\n")[2],
            "sentiment": sentiment,
            "marks": marks,
            "label": " ".join(entry.label.split()),
            "original": " ".join(entry.reasoning.split()),
            "answer": answer,
        }
        try:
            return tuple(template.render(values).strip() for template in self.templates[name, language])
        except jinja2.UndefinedError as error:
            raise InputError(f"template {name}.{language}.txt: {error}; it may use {', '.join(values)}") from error
        except jinja2.TemplateError as error:
            raise InputError(f"template {name}.{language}.txt: {error}") from error


def read_prompts(names: tuple[str, ...], directory: str = "") -> Prompts:
    """The templates called `names` in both languages: a user's own from `directory` where it has them, else ours.

    Raises InputError: no such directory or none of these files in it, a file that is no template, or that lacks the
    line of ---."""
    if directory and not Path(directory).is_dir():
        raise InputError(f"templates: {directory} is no directory; copy {OURS.name}/ of emsa_jax/distill and edit it")
    known = [f"{name}.{language}.txt" for name in names for language in LANGUAGES]
    if directory and not any((Path(directory) / file).is_file() for file in known):
        raise InputError(f"templates: {directory} holds none of {', '.join(known)}")
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    templates, hashes = {}, {}
    for name in names:
        for language in LANGUAGES:
            file = f"{name}.{language}.txt"
            path = Path(directory) / file if directory and (Path(directory) / file).is_file() else OURS / file
            try:
                text = path.read_text(encoding="utf-8")
                system, line, user = text.partition("\n---\n")
                templates[name, language] = environment.from_string(system), environment.from_string(user)
            except (OSError, UnicodeDecodeError, jinja2.TemplateError) as error:
                raise InputError(f"{path}: cannot be used as a template: {error}") from error
            if not line:
                raise InputError(f"{path}: needs a line of --- between the system and the user message")
            hashes[file] = hashlib.sha256(text.encode()).hexdigest()
    return Prompts(templates, hashes)


def spoken(entry: Entry) -> str:
    """The utterance on one line; it cannot spell a special token."""
    return " ".join(entry.text.replace("\x00", " ").split()).replace("<|", "< |")
