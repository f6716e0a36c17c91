"""The page on which a person asks policies about a clip: it talks to any endpoint that follows OpenAI's protocol."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from emsa_jax.answers.formats import FORMATS
from emsa_jax.data.puppets.render import encode_clip, render
from emsa_jax.data.puppets.world import DOMAINS, Puppet, PuppetWorld, draw_world
from emsa_jax.report.page import render as render_page
from emsa_jax.report.page import template

SCRIPTS = ("demo_clip.js", "demo_answer.js", "demo_ask.js", "demo.js")


@dataclass(frozen=True)
class Sample:
    """A drawn clip to try. uri: an mp4 that browsers play, as a data URI. text: what is said in it."""

    label: str
    name: str
    text: str
    uri: str


def demo_page() -> bytes:
    """The page, as UTF-8 HTML. It loads nothing, and connects to the addresses that its user names."""
    question = FORMATS["dc"]((-1.0, 1.0)).ask(("text", "audio", "video"), "en")
    return render_page(
        template("demo.html"),
        "Ask about a clip",
        template("demo.css"),
        "".join(map(template, SCRIPTS)),
        connect="'self' http: https:",
        media="data: blob:",
        samples=samples(),
        question=question.replace("-1 to 1", "{low} to {high}"),
    )


def samples() -> list[Sample]:
    """Two puppets of the test split: one whose words fit face and voice, and one whose words mislead."""
    puppets = [puppet for puppet in draw_world(PuppetWorld()) if puppet.split == "test" and not puppet.noisy]
    fits = next(puppet for puppet in puppets if not puppet.sarcastic and puppet.level > 2)
    misleads = next(puppet for puppet in puppets if puppet.sarcastic and puppet.level < -2)
    return [_sample(fits, "A drawn clip"), _sample(misleads, "One whose words mislead")]


def _sample(puppet: Puppet, label: str) -> Sample:
    buffer = io.BytesIO()
    encode_clip(buffer, *render(puppet, DOMAINS["en"]), codec="libx264")
    uri = f"data:video/mp4;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Sample(label, f"{puppet.id.replace('$_$', '_')}.mp4", puppet.text, uri)
