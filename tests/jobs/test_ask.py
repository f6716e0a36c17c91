"""`ask` as a user starts it: the answer, what was read of it, what was seen; and errors in one line."""

import pytest

from tests.serving.conftest import served  # noqa: F401

CONFIG = "configs/ask.py"


def test_one_clip(started, served):  # noqa: F811
    status, out, err = started(
        f"policy={served.policy}",
        f"video={served.clips[0]}",
        "text=good day to you",
        "max_tokens=9",
        "cache=",
        "show_prompt=True",
        config=CONFIG,
    )
    assert status == 0 and err == ""
    assert "Words: good day to you" in out and "--- video: tokens " in out and "--- ids: [1, " in out
    assert "polarity   " in out and "(from -1 to 1)" in out and "reasoning  " in out
    assert "seen       4 frames, 1.2 s of sound, 4 words\n" in out and " 9 tokens, cut off there" in out


def test_a_table_in_the_place_of_a_clip(started, tmp_path):
    (tmp_path / "clips.CSV").write_text("id,text\n1,hm\n")
    status, out, err = started(f"video={tmp_path / 'clips.CSV'}", "policy=nowhere", "cache=", config=CONFIG)
    assert status == 2 and "clips.CSV is a table, not one clip; --config.data=" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "say what to ask about"),
        (["text=hm"], "config.policy: name a policy directory"),
        (["text=hm", "policy=nowhere"], "nowhere: no such directory"),
        (["video=nowhere.mp4"], "config.video: there is no file nowhere.mp4"),
        (["video=good day"], "config.text is for the words"),
        (["video=tests"], "config.video: tests is a folder, not one clip; --config.data=tests asks about all"),
        (["video=clips.CSV"], "config.video: there is no file clips.CSV"),
        (["text=hm", "data=x.csv"], "give one or the other"),
        (["data=x.csv", "out=tests"], "config.out: tests is a directory"),
        (["data=x.csv", "out=Makefile/b.csv"], "Makefile/b.csv cannot be written, since"),
        (["text=hm", "temperature=0.001"], "temperature must be 0"),
    ],
)
def test_mistakes_end_in_one_line(started, arguments, told):
    status, out, err = started(*arguments, "cache=", config=CONFIG)
    assert status == 2 and told in err and err.count("\n") == 1 and err.startswith("error: ")
