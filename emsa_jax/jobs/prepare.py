"""Preparing: as the first stage of a run, and as a job of its own that makes a directory of records.

The stage also makes the embedded world and tiny where they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from emsa_jax.answers.formats import make_format
from emsa_jax.answers.messages import messages
from emsa_jax.answers.traces import read_traces
from emsa_jax.data.data_options import Dataset, ReadingOptions
from emsa_jax.data.facts import describe
from emsa_jax.data.prepare import prepare
from emsa_jax.data.puppets import ConceptWorld, PuppetWorld, make_concept_puppets, make_puppets
from emsa_jax.data.readers import read_samples
from emsa_jax.data.records import Entry, read_index, read_manifest
from emsa_jax.data.sample import SPLITS, Sample
from emsa_jax.errors import InputError
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.rollout.prompts import Prompter
from emsa_jax.runtime.console import progress, say
from emsa_jax.runtime.run import Run
from emsa_jax.settings.config import Config
from emsa_jax.training.artifacts import PUPPETS, datasets, is_prepared, labels_of, policy_dir, puppet_dir, reader_of


def prepare_all(run: Run, config: Config) -> None:
    """Leaves records/<name> for each data set, and policy/ where the policy is "tiny". What is there is kept."""
    for name, dataset in datasets(config).items():
        source = _source(run, config, dataset)
        if not is_prepared(source):
            out = run.path("records", name)
            manifest = prepare(
                source,
                out,
                config.prepare,
                *labels_of(dataset),
                _progress,
                dataset=reader_of(dataset),
                reading=config.read,
            )
            _tell(name, manifest)
    if config.policy == "tiny" and not run.path("policy").exists():
        make_tiny(run.path("policy"), _tiny_texts(run, config), config.seed)


def prepare_records(config: Config) -> None:
    """Makes `config.out` of `config.data`. With a policy's directory as config.policy, the manifest also tells
    how long its prompts are, and which buckets they would go into."""
    for line in describe(config.dataset) if config.dataset not in ("", "plain") else ():
        say(line)
    score_range, language = labels_of(config.train_set)
    token_length = None
    if config.policy != "tiny":
        checkpoint = open_checkpoint(policy_dir(None, config), weights=False)
        token_length = Prompter(
            checkpoint, make_format(config.format, score_range, concepts=config.concepts), config.prompt
        ).length
    manifest = prepare(
        config.data,
        config.out,
        config.prepare,
        score_range,
        language,
        _progress,
        dataset=config.dataset,
        token_length=token_length,
        reading=config.read,
    )
    _tell(config.out, manifest)


def clips_of(dataset: Dataset, read: ReadingOptions) -> tuple[Sequence[Sample | Entry] | None, tuple[float, float]]:
    """(clips, score range) of a data set as its labels tell; None for puppets, which are still to be made.

    Raises InputError for one that cannot be used: an unknown domain, a bad path or table of labels."""
    if dataset.data.startswith("puppets:"):
        if dataset.data not in PUPPETS:
            raise InputError(f"data: {dataset.data!r} is no puppet domain; there are {', '.join(PUPPETS)}")
        return None, labels_of(dataset)[0]
    score_range, language = labels_of(dataset)
    if is_prepared(Path(dataset.data)):
        clips = [entry for split in SPLITS for entry in read_index(dataset.data, split)]
        return clips, read_manifest(dataset.data).score_range
    return read_samples(dataset.data, score_range, language, dataset.dataset, read), score_range


def labelled_splits(clips: Sequence[Sample | Entry] | None) -> dict[str, bool]:
    """Split -> whether clips of it have scores; splits without clips are left out. None: of puppets, which have all."""
    if clips is None:
        return dict.fromkeys(SPLITS, True)
    return {
        split: any(clip.score is not None for clip in clips if clip.split == split)
        for split in dict.fromkeys(clip.split for clip in clips)
    }


def _source(run: Run, config: Config, dataset: Dataset) -> Path:
    if dataset.data not in PUPPETS:
        return Path(dataset.data)
    out, sizes = puppet_dir(run, dataset.data), config.puppets
    if not out.exists():
        annotated = "concepts" in dataset.data
        kind, make = (ConceptWorld, make_concept_puppets) if annotated else (PuppetWorld, make_puppets)
        options = kind(
            domain=PUPPETS[dataset.data].language,
            seed=config.seed,
            workers=config.prepare.workers,
            **asdict(sizes),
        )
        total = options.num_train + options.num_valid + options.num_test
        with progress(total, f"drawing {dataset.data}") as advance:
            done = 0

            def report(now: int, _: int) -> None:
                nonlocal done
                advance(now - done)
                done = now

            make(out, options, report)
    return out


def _progress(items, total: int):
    with progress(total, "prepare") as advance:
        for item in items:
            yield item
            advance()


def _tell(name: str, manifest) -> None:
    counts = ", ".join(f"{count} {split}" for split, count in manifest.samples.items())
    say(f"{name}: {counts} clips prepared, {len(manifest.quarantined)} quarantined")
    for row in manifest.quarantined[:5]:
        say(f"  quarantined {row['id']}: {row['reason']}")


def _tiny_texts(run: Run, config: Config) -> list[str]:
    """What tiny's tokenizer is learned from: prompts and traces, those of the other domain without its labels."""
    texts: list[str] = []
    for name, dataset in datasets(config).items():
        score_range, language = labels_of(dataset)
        as_train = name == "cross" and config.cross.asked_as == "train"
        asked = labels_of(config.train_set) if as_train else (score_range, language)
        format = make_format(config.format, asked[0], concepts=config.concepts)
        source = _source(run, config, dataset)
        for sample in _clips(source, dataset, config):
            language = asked[1] if as_train else sample.language
            chat = messages(format, sample.text, language, *_media(sample))
            texts += [part["text"] for message in chat for part in message["content"] if part["type"] == "text"]
        traces = (source if source.is_dir() else source.parent) / "traces.jsonl"
        if traces.exists() and format.has_reasoning:
            texts += [format.tokenizer_text(t.polarity, t.think, t.score) for t in read_traces(traces)]
    if not texts:
        raise InputError("policy: tiny learns its tokenizer from the data's texts, and there are none")
    return texts


def _clips(source: Path, dataset: Dataset, config: Config) -> list[Sample | Entry]:
    if is_prepared(source):
        return [entry for split in SPLITS for entry in read_index(source, split)]
    return read_samples(source, *labels_of(dataset), reader_of(dataset), config.read)


def _media(clip: Sample | Entry) -> tuple[bool, bool]:
    """Whether a clip has frames, and sound; of raw ones, as far as it can be told."""
    if isinstance(clip, Entry):
        return clip.num_frames > 0, clip.mel_frames > 0
    return bool(clip.video), bool(clip.audio or clip.video)
