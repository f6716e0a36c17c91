"""MERR: emotions and explanations that models wrote for clips of MER2023, a coarse and a fine part as json."""

import os
from pathlib import Path

from emsa_jax.data.readers import clips, mer_folder
from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.emotion_llama import EXPLANATIONS, Indexed, explanation_of, read_index
from emsa_jax.data.readers.rows import named_objects, text_field
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError


def read_merr(path: Path, options: ReadOptions) -> list[Sample]:
    """path: the directory of MER2023 with `MERR_fine_grained.json`, `MERR_coarse_grained.json` or both, of which the
    fine one wins; or one of them. The emotion is the entry's own (`pseu_emotion`), or that of the index, a `.txt` of
    the same name; words are the transcript's, or the entry's own."""
    files = [path / name for name in EXPLANATIONS if os.path.isfile(path / name)] if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds none of {', '.join(EXPLANATIONS)}")
    clip, words = mer_folder.finder(path), mer_folder.transcripts(path, options.language)
    found = Collection(path, options)
    for file in files:
        index = read_index(file.with_suffix(".txt")) if os.path.isfile(file.with_suffix(".txt")) else {}
        for where, key, entry in named_objects(file):
            name = clips.name_in(key, "name", where)
            if name in found:
                continue
            reasoning = explanation_of(entry, where)
            if not reasoning:
                raise InputError(f"{where} has neither smp_reason_caption nor caption")
            indexed = index.get(name, Indexed(where, "", ""))
            valence = mer_folder.valence_of(indexed.valence, options.score_range, indexed.where)
            for guess in indexed.where.guesses:
                where.guess(guess)
            sample = Sample(
                id=name,
                text=words.get(name, "") or text_field(entry, "text", where),
                score=valence,
                split=options.reading.split,
                video=clip(name, where),
                language=options.language,
                label=text_field(entry, "pseu_emotion", where).strip() or indexed.emotion,
                reasoning=reasoning,
            )
            found.add(where, sample)
    return found.samples()
