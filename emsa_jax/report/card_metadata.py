"""The head of a model card, as the Hugging Face Hub reads it: base, licence, tags, results as a model index."""

from __future__ import annotations

from typing import Literal

from huggingface_hub import EvalResult, ModelCardData

from emsa_jax.report.card_facts import CardFacts, DataFacts
from emsa_jax.report.result_table import measured, read_of

Kind = Literal["merged", "base", "adapter"]
TASK = "multimodal sentiment analysis"
_METRICS = {  # the Hub's name of a metric <- the first words of a column's title
    "accuracy": ("polarity acc", "sentiment acc", "concepts acc", "Acc"),
    "f1": ("polarity F1", "F1", "WF1"),
    "mae": ("MAE",),
    "pearsonr": ("Corr",),
}
_TAGS = ("multimodal", "sentiment-analysis", "emotion-recognition", "explainability", "jax", "emsa_jax")


def metadata(facts: CardFacts, kind: Kind) -> ModelCardData:
    """The head of the card of an export. kind: which of the directories that an export writes."""
    given = {}
    if facts.base.name or kind == "adapter":
        given["base_model"] = facts.base.name or "base"
        if kind != "base" or facts.stage != "zero_shot":
            given["base_model_relation"] = "adapter" if kind == "adapter" else "finetune"
    if facts.base.licences:
        one = len(facts.base.licences) == 1
        given["license"] = facts.base.licences[0] if one else "other"
        given |= {} if one else {"license_name": "-and-".join(facts.base.licences)}
    languages = sorted({language for data in facts.data if data.role == "train" for language in data.languages})
    return ModelCardData(
        **given,
        language=languages or None,
        library_name="peft" if kind == "adapter" else "transformers",
        pipeline_tag=pipeline(facts),
        tags=[*_TAGS, *(("lora",) if kind == "adapter" else ()), *(("grpo",) if facts.stage == "grpo" else ())],
        model_name=facts.name,
        eval_results=results(facts) if kind != "base" else None,
    )


def pipeline(facts: CardFacts) -> str:
    """The Hub's name of what goes in and comes out."""
    shown = facts.trained_for.modalities if facts.trained_for else ("text",)
    for modality, name in (("video", "video-text-to-text"), ("audio", "audio-text-to-text")):
        if modality in shown:
            return name
    return "text-generation"


def results(facts: CardFacts) -> list[EvalResult] | None:
    """One for each number that rests on answers that were read; None where nothing was evaluated."""
    found = []
    for data in facts.data:
        if result := facts.results[data.role].get(facts.stage):
            for one in measured(result):
                if metric := _metric(one.title):
                    low, high = one.interval or (None, None)
                    interval = {"interval_95": [low, high]} if one.interval else {}
                    arguments = {"n": read_of(result)[1], **interval}
                    found.append(_result(data, facts.split, metric, one.title, one.value, arguments))
    return found or None


def _result(data: DataFacts, split: str, metric: str, title: str, value: float, arguments: dict) -> EvalResult:
    return EvalResult(
        task_type="text-generation",
        task_name=TASK,
        dataset_type=data.kind,
        dataset_name=data.title,
        dataset_split=split,
        dataset_args={"digest": data.digest},
        metric_type=metric,
        metric_name=title,
        metric_value=round(value, 6),
        metric_args=arguments,
    )


def _metric(title: str) -> str:
    """The Hub's name of a column's metric, "" for one that it has none for."""
    return next((name for name, heads in _METRICS.items() if title.startswith(heads)), "")
