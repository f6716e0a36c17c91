"""Predicted cues against gold ones: EmoCue-360, with intervals."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from emsa_jax.cues.cue_files import KINDS, Cues, by_rule, read_cues
from emsa_jax.cues.cues_options import ENCODER, CuesOptions
from emsa_jax.cues.emocue360 import MEASURES, RULES, ClipScores, floor, means, score_clips, summary, vectors_of
from emsa_jax.cues.endpoint_extraction import Extraction, cues_by_endpoint
from emsa_jax.cues.pairs import pairs_of
from emsa_jax.cues.text_metrics import text_metrics
from emsa_jax.errors import InputError
from emsa_jax.evaluation.resampling import intervals
from emsa_jax.manifest import write_outputs
from emsa_jax.policy.sentence_encoder import read_sentence_encoder
from emsa_jax.report.cue_page import cue_page, media_of_records
from emsa_jax.runtime.console import say


def cues(options: CuesOptions) -> None:
    """Scores the predictions under both rules; prints the chosen one's result as JSON on the last line, and leaves
    files where `out` is named. Raises InputError for files and encoders that cannot be read."""
    (predicted, gold), texts = _read(options)
    vectors = vectors_of(_embed(options.encoder), predicted, gold)
    missing = [clip for clip in gold if clip not in predicted]
    if missing:
        say(f"{len(missing)} of {len(gold)} clips have no prediction, such as {missing[0]!r}")
    results, scores = {}, {}
    for name, rule in RULES.items():
        scores[name] = score_clips(predicted, gold, vectors, rule)
        found = means(scores[name])
        results[name] = found | summary(found) | {"missing_predictions": len(missing)}
        say(_line(name, results[name]))
    chosen = options.subtitle_rule
    bounds = _intervals(scores[chosen], gold, options)
    for kind, found in bounds.items():
        listed = ", ".join(f"{name} {low:.4f} to {high:.4f}" for name, (low, high) in found.items())
        say(f"{kind}, 95 % interval over clips: {listed}")
    lowest = floor(predicted, gold, vectors, RULES[chosen], seed=options.seed)
    if lowest["mean"] is not None:
        say(f"with predictions of other clips: mean {100 * lowest['mean']:.2f}, mean F1 {100 * lowest['mean_f1']:.2f}")
    captions = _captions(*texts)
    if options.out:
        pairs = pairs_of(predicted, gold, vectors, RULES[chosen])
        content = {"rule": chosen, "results": results, "intervals": bounds, "resamples": options.resamples}
        content |= {"other_clips": lowest, "descriptions": captions}
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in pairs)
        media = media_of_records(options.records, gold) if options.records else {}
        page = cue_page(pairs, _line(chosen, results[chosen]) + ", x 100.", media)
        files = {"scores.json": (json.dumps(content, indent=2) + "\n").encode(), "pairs.jsonl": lines.encode()}
        write_outputs(Path(options.out).expanduser(), files | {"cues.html": page})
        say(f"written to {options.out}")
    print(json.dumps(results[chosen]), flush=True)


def _read(options: CuesOptions) -> tuple[tuple[dict[str, Cues], ...], tuple[dict[str, str], ...]]:
    """Cues and descriptions of (predictions, gold), the clips of the one all among those of the other."""
    found, texts, extract = [], [], by_rule
    if options.extract == "endpoint":
        how = Extraction(options.teacher, options.budget, options.prompt, Path(options.cache).expanduser())
        extract = functools.partial(cues_by_endpoint, how=how)
    for name in ("predictions", "gold"):
        path = getattr(options, name)
        if not path:
            raise InputError(f"config.{name}: name a file of cues, such as cues.json")
        for kept, read in zip((found, texts), read_cues(path, f"config.{name}", extract), strict=True):
            kept.append(read)
        if not found[-1]:
            raise InputError(f"config.{name}: {path} holds no clip")
    predicted, gold = found
    if strange := next((clip for clip in predicted if clip not in gold), None):
        raise InputError(
            f"config.predictions: clip {strange!r} is not in {options.gold}; take it out, or add its gold cues"
        )
    return (predicted, gold), tuple(texts)


def _captions(predicted: Mapping[str, str], gold: Mapping[str, str]) -> dict | None:
    """BLEU and CIDEr-D, where both files hold descriptions."""
    if not predicted or not gold:
        return None
    found = text_metrics(predicted, {clip: [text] for clip, text in gold.items()}) | {"n": len(gold)}
    values = ", ".join(f"{name} {100 * found[name]:.2f}" for name in found if name != "n")
    say(f"descriptions of {len(gold)} clips, x 100: {values}")
    return found


def _embed(directory: str) -> Callable:
    path = Path(directory or ENCODER).expanduser()
    if not directory and not path.is_dir():
        raise InputError(f"config.encoder: name a directory of a sentence encoder; `make weights` makes {ENCODER}")
    return read_sentence_encoder(path).embed


def _line(rule: str, result: Mapping) -> str:
    """The figures of a rule, as people read them."""
    parts = []
    for kind in KINDS:
        found = result[kind]
        values = " ".join("-" if found[name] is None else f"{100 * found[name]:.2f}" for name in MEASURES)
        parts.append(f"{kind} {values} ({found['n']} clips)")
    mean = "-" if result["mean"] is None else f"{100 * result['mean']:.2f}"
    return f"rule {rule}: precision, recall, F1: {'; '.join(parts)}; mean {mean}"


def _intervals(scores: ClipScores, gold: Mapping[str, Cues], options: CuesOptions) -> dict[str, dict]:
    """Kind, or "all" -> measure -> (low, high), by a bootstrap over clips."""
    clips = list(gold)

    def measure(rows: np.ndarray) -> dict[str, float | None]:
        found = means(scores, [clips[row] for row in rows])
        flat = {f"{kind}/{name}": found[kind][name] for kind in KINDS for name in MEASURES}
        return flat | {f"all/{name}": value for name, value in summary(found).items()}

    drawn = intervals(measure, len(clips), options.resamples, options.seed) if options.resamples else {}
    found: dict[str, dict] = {}
    for name, bounds in drawn.items():
        kind, _, what = name.partition("/")
        if bounds is not None:
            found.setdefault(kind, {})[what] = bounds
    return found
