"""An answer format of your own: a class in one file, and one line that gives it its name.

    python examples/own_format.py                     shows the prompt, and what is read from a good and a bad answer

To train with it (`--config.format=sure`), put the class into a file of emsa_jax/answers/ and the line into `FORMATS` of
formats.py there.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

from emsa_jax.answers.answer_format import Answer
from emsa_jax.answers.dc import DC
from emsa_jax.answers.formats import FORMATS, make_format
from emsa_jax.answers.tags import scan

LEVELS = ("low", "high")
SURE = "\n<sure>high</sure>"  # how an answer ends that is written by hand


@dataclass(frozen=True)
class Sure(DC):
    """A DC answer that ends with how sure it is: `<sure>high</sure>`."""

    name: ClassVar[str] = "sure"

    def write(self, polarity: str, think: str, score: float) -> str:
        """As a DC answer; what is written by hand is sure."""
        return f"{self._dc.write(polarity, think, score)}{SURE}"

    def parse(self, text: str) -> Answer:
        """The DC part by its own rules, and the fourth tag, which has to stand at the end, once, with a known word."""
        tags = scan(text, ("sure",))
        answer = self._dc.parse(text[: tags[0].start] if tags else text)
        if not self._level(text):
            answer = replace(answer, notes=(*answer.notes, f"sure is not one of {', '.join(LEVELS)}, at the end, once"))
        return answer

    def ask(self, modalities: Collection[str], language: str) -> str:
        """The DC prompt with one more line."""
        return f"{super().ask(modalities, language)}\n<sure>{'|'.join(LEVELS)}</sure>"

    def score_part(self, text: str) -> str:
        """From the score to the end of the answer, of which `evaluate.decode=expected` asks how likely it is."""
        return f"{super().score_part(text)}{SURE}"

    @property
    def _dc(self) -> DC:
        """The format of the first three tags."""
        return DC(self.score_range, self.neutral_eps, self.asked_range)

    def _level(self, text: str) -> str:
        """The level of an answer, "" where it cannot be read."""
        tags = scan(text, ("sure",))
        if [tag.closing for tag in tags] != [False, True] or text[tags[1].end :].strip():
            return ""
        level = text[tags[0].end : tags[1].start].strip().lower()
        return level if level in LEVELS else ""


FORMATS[Sure.name] = Sure  # the one line


def main() -> None:
    format = make_format("sure", (-1.0, 1.0))
    print(format.ask(("text", "audio"), "en"))
    answer = format.write("Positive", "1. words: they praise.", 0.8)
    for text in (answer, answer.replace("high", "perhaps")):
        read = format.parse(text)
        print(f"score {read.score}, polarity {read.polarity}, notes: {', '.join(read.notes) or 'none'}")


if __name__ == "__main__":
    main()
