"""docs/data_sets.md: its worked example works, its table agrees with the facts."""

import re
from pathlib import Path

from emsa_jax.data.facts import FACTS
from emsa_jax.data.readers.base import ReadOptions
from emsa_jax.data.sample import Sample

PAGE = (Path(__file__).parents[3] / "docs" / "data_sets.md").read_text(encoding="utf-8")


def test_the_worked_example(folder):
    names = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], names)
    folder.csv("moods.csv", "clip,said,mood,fold", ["a", "Well, well.", "7.5", "train"], ["b", "", "", "test"])
    video = folder.clip("clips/a.mp4")
    assert names["read_mood"](folder.root, ReadOptions((-5.0, 5.0), "en")) == [
        Sample("a", "Well, well.", 2.5, "train", video),
        Sample("b", "", None, "test", str(folder / "clips/b.mp4")),
    ]


def test_the_table():
    rows = {
        name: line
        for line in PAGE.splitlines()
        if (name := line.partition("`")[2].partition("`")[0]) in FACTS and line.startswith("| `")
    }
    assert list(rows) == list(FACTS)
    for name, line in rows.items():
        facts = FACTS[name]
        sizes = [f"{facts.sizes[split]:,}" if split in facts.sizes else "-" for split in ("train", "valid", "test")]
        assert not facts.sizes or " / ".join(sizes) in line
        if "positive" in facts.class_sizes.get("test", {}):
            assert " / ".join(f"{count:,}" for count in facts.class_sizes["test"].values()) in line
