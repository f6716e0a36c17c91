"""An annotated puppet data set on disk, as the reader `ch_cems` takes it, with the votes that its labels come from."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict

from emsa_jax.data.annotation.votes import COLUMNS
from emsa_jax.data.puppets.concept_teacher import write_concept_traces
from emsa_jax.data.puppets.concept_votes import FIELDS, labels_of, votes_of
from emsa_jax.data.puppets.concept_world import ConceptPuppet, ConceptWorld, draw_concept_world
from emsa_jax.data.puppets.make import latent_row, staged, write_clips, write_csv, write_lines, write_text
from emsa_jax.data.puppets.world import DOMAINS

SCORE_RANGE = (-1.0, 1.0)  # of means of votes, in both domains


def make_concept_puppets(
    out_dir: str | os.PathLike, options: ConceptWorld, progress: Callable[[int, int], None] | None = None
) -> None:
    """Writes a data set to `out_dir`, which must not exist or be empty; all of it appears at once or nothing.

    label.csv                       the MMSA columns, concepts, scenario, interaction and speaker; labels are the votes'
    Raw/<video_id>/<clip_id>.mp4    as those of the plain world
    votes.csv                       item, annotator, field, value: what configs/annotate.py takes
    latents.csv, traces.jsonl, info.json

    Equal options (`workers` aside): equal bytes. Raises InputError if `out_dir` is taken.
    """
    with staged(out_dir) as staging:
        puppets = draw_concept_world(options)
        votes = [votes_of(puppet, options) for puppet in puppets]
        write_clips(staging / "Raw", puppets, options, progress)
        write_csv(staging / "label.csv", [_label_row(p, v) for p, v in zip(puppets, votes, strict=True)])
        write_csv(staging / "votes.csv", [row for p, v in zip(puppets, votes, strict=True) for row in _ballots(p, v)])
        write_csv(staging / "latents.csv", [latent_row(p) for p in puppets])
        write_lines(staging / "traces.jsonl", write_concept_traces(puppets, options))
        info = {
            "schema": 1,
            "language": DOMAINS[options.domain].language,
            "score_range": list(SCORE_RANGE),
            "seed": options.seed,
            "options": {k: v for k, v in asdict(options).items() if k != "workers"},
        }
        write_text(staging / "info.json", json.dumps(info, indent=1, ensure_ascii=False) + "\n")


def _label_row(puppet: ConceptPuppet, votes: dict[str, list[str]]) -> dict:
    labels = labels_of(votes)
    return {
        "video_id": puppet.video_id,
        "clip_id": puppet.clip_id,
        "text": puppet.text,
        "label": labels["label"],
        "mode": puppet.split,
        **{field: labels[field] for field in FIELDS},
        "scenario": puppet.scenario,
        "interaction": puppet.interaction,
        "speaker": puppet.video_id,
    }


def _ballots(puppet: ConceptPuppet, votes: dict[str, list[str]]) -> list[dict]:
    return [
        dict(zip(COLUMNS, (puppet.id, f"annotator{i + 1}", field, value), strict=True))
        for field, given in votes.items()
        for i, value in enumerate(given)
    ]
