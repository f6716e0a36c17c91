"""The same commands on real speech, real video and real text.

    python benchmarks/real_data.py --data DIR [--only ravdess,video,sims] [--workdir DIR] [--out docs/real_data.md]

DIR holds audio/ravdess/Actor_XX/*.flac, video/*.mp4 and text/sims_label.csv. A tiny policy learns each from scratch:

ravdess  acted speech, polarity from the voice alone: speakers 1-14 train, 15-16 validate, 17-20 judge
video    the mp4 files through prepare and one evaluation, with the policy that RAVDESS left
sims     CH-SIMS utterances with the official split, text only

The cold start's traces are templates filled in from the label, speaking of present modalities only: there is no
teacher here, so they teach the form of an answer and nothing about why.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

from emsa_jax.answers.labels import polarity_of
from emsa_jax.data.data_options import CrossDataset, PrepareOptions
from emsa_jax.jobs.stages import run_stages
from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.rollout.rollout_options import PromptOptions
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.run import open_run
from emsa_jax.settings.config import Config
from emsa_jax.settings.presets import embedded_papers

EMOTIONS = {
    1: ("neutral", 0),
    2: ("calm", 0),
    3: ("happy", 1),
    4: ("sad", -1),
    5: ("angry", -1),
    6: ("fearful", -1),
    7: ("disgusted", -1),
}  # 08, surprised, has no polarity
FIELDS = ("id", "text", "label", "mode", "video", "audio")
FLOORS = {
    "ravdess": "log-mel statistics and SVM: UAR 0.586",
    "sims": "TF-IDF and ridge: Acc2 0.733, Acc3 0.551, MAE 0.522",
}


def write_table(path: Path, rows: list[dict], traces: list[dict]) -> Path:
    """A csv of clips, with traces.jsonl beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in traces)
    (path.parent / "traces.jsonl").write_text(lines, encoding="utf-8")
    return path


def ravdess(data: Path, out: Path) -> Path:
    """RAVDESS as a table: 03-01-EMOTION-INTENSITY-STATEMENT-REPETITION-ACTOR.flac."""
    rows, traces = [], []
    for path in sorted(data.glob("audio/ravdess/Actor_*/*.flac")):
        _, _, emotion, intensity, _, _, actor = map(int, path.stem.split("-"))
        if emotion not in EMOTIONS:
            continue
        name, label = EMOTIONS[emotion]
        mode = "train" if actor <= 14 else "valid" if actor <= 16 else "test"
        rows.append(dict(id=path.stem, text="", label=label, mode=mode, video="", audio=path))
        if mode == "train":
            strength = "strongly" if intensity == 2 else "plainly"
            think = f"1. voice: {strength} {name}."
            traces.append(dict(id=path.stem, polarity=polarity_of(label), score=label, think=think))
    return write_table(out / "clips.csv", rows, traces)


def video(data: Path, out: Path) -> Path:
    """Every mp4, unlabelled."""
    return write_table(
        out / "clips.csv",
        [
            dict(id=path.stem, text="", label="", mode="test", video=path, audio="")
            for path in sorted(data.glob("video/*.mp4"))
        ],
        [],
    )


def sims(data: Path, out: Path) -> Path:
    """CH-SIMS utterances as a table."""
    grades = ("中性", "有些", "明显", "非常")
    rows, traces = [], []
    with open(data / "text" / "sims_label.csv", encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            label, id = float(row["label"]), f"{row['video_id']}_{row['clip_id']}"
            rows.append(dict(id=id, text=row["text"], label=label, mode=row["mode"], video="", audio=""))
            if row["mode"] == "train":
                grade = grades[round(abs(label) * 2.6)] + ("" if not label else "正面" if label > 0 else "负面")
                traces.append(dict(id=id, polarity=polarity_of(label), score=label, think=f"1. 文字：{grade}。"))
    return write_table(out / "clips.csv", rows, traces)


def settings(name: str, source: Path, trained: Path) -> Config:
    """What each experiment changes of the embedded default with the papers' rewards."""
    config = replace(embedded_papers(), data=str(source), cross=CrossDataset(), score_range=(-1.0, 1.0), language="en")
    config = replace(
        config,
        sft=replace(config.sft, epochs=30, eval_every=40, save_every=40, batch_size=16),
        grpo=replace(config.grpo, max_steps=60),
        sampling=replace(config.sampling, max_completion_length=40),
        evaluate=replace(config.evaluate, samples=0),
    )
    if name == "video":
        return replace(
            config,
            stages=("prepare", "evaluate"),
            policy=str(trained / "sft" / "policy"),
            adapter=str(trained / "grpo" / "adapter"),
            evaluate=replace(config.evaluate, batch_size=5),
            prepare=PrepareOptions(num_frames=16),
        )
    if name == "sims":
        # real sentences differ in length: two compiled prompt lengths
        return replace(config, language="zh", prompt=PromptOptions(buckets=(112, 256)))
    # two thirds of the clips are negative, and UAR counts classes alike: polarities are balanced
    optimizer = OptimizerOptions(5e-4, warmup=40, schedule="constant", b2=0.98, weight_decay=0.2)
    return replace(
        config, sft=replace(config.sft, optimizer=optimizer, balance=True), grpo=replace(config.grpo, balance=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default="ravdess,video,sims")
    parser.add_argument("--workdir", type=Path, default=Path("runs/real_data"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    makers = {"ravdess": ravdess, "video": video, "sims": sims}
    lines = [
        "| experiment | policy | n | reward | polarity acc | UAR | Acc2 | Acc3 | MAE | Corr | parsed |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in args.only.split(","):
        workdir = args.workdir / name
        source = makers[name](args.data.absolute(), workdir / "source")
        with open_run(workdir, settings(name, source, args.workdir / "ravdess")) as run:
            keep_compiled(args.workdir / "compilation_cache")
            run_stages(run, settings(name, source, args.workdir / "ravdess"))
        for path in sorted(workdir.glob("evaluate/*/train/metrics.json")):
            lines.append(row_of(name, path.parts[-3], json.loads(path.read_text())))
    lines += ["", *(f"Floor of {name}: {floor}." for name, floor in FLOORS.items() if name in args.only)]
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")


def row_of(name: str, policy: str, result: dict) -> str:
    """One line of the table."""
    m = result["metrics"] or {}
    cells = [
        m.get("n", result["clips"]),
        (result["rewards"] or {}).get("total"),
        m.get("Polarity_acc"),
        m.get("Polarity_UAR"),
        m.get("Has0_acc_2") if m.get("Mult_acc_2") is None else m["Mult_acc_2"],
        m.get("Mult_acc_3"),
        m.get("MAE"),
        m.get("Corr"),
        m.get("parse_rate", result["format_rate"]),
    ]
    texts = ["-" if c is None else str(c) if isinstance(c, int) else f"{c:.3f}" for c in cells]
    return f"| {name} | {policy} | " + " | ".join(texts) + " |"


if __name__ == "__main__":
    main()
