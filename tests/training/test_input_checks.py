"""What is looked at before anything is learned."""

from pathlib import Path

import pytest

from emsa_jax.data.records import Entry
from emsa_jax.errors import InputError
from emsa_jax.training import input_checks


def entry(id, text="", frames=0):
    return Entry(id, text, 0.5, "train", "en", frames, 4, 4, 1.0, 0)


@pytest.fixture
def check(monkeypatch):
    def shown(entries, *modalities):
        monkeypatch.setattr(input_checks, "read_index", lambda records, split: entries)
        input_checks.check_shown(Path("records"), modalities, ("sft", "evaluate"), "test", "train")

    return shown


def test_prompts_that_would_show_nothing_are_refused(check, capsys):
    words = [entry("a", "hey"), entry("b", "ho")]
    with pytest.raises(InputError, match="prompt.modalities: no clip of train in records has audio or video, so that"):
        check(words, "audio", "video")
    check(words, "text", "audio")
    assert capsys.readouterr().out == ""


def test_some_prompts_that_show_nothing_are_told_with_a_clip(check, capsys):
    check([entry("a", "hey"), entry("b", " ", frames=2)], "text", "audio")
    told = capsys.readouterr().out
    assert "warning: 1 of 2 clips of train in records, such as b, have no text and no audio: their prompts" in told
