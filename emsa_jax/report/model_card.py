"""The model card of an export, README.md: what it is, from what and how it was made, what was measured, what for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.messages import messages
from emsa_jax.config.edge import from_config_dict
from emsa_jax.data.datasets import PUPPETS_NOTE
from emsa_jax.report.card_facts import CardFacts, DataFacts
from emsa_jax.report.card_metadata import Kind, metadata
from emsa_jax.report.page import template
from emsa_jax.report.result_table import MARKS, ResultTable, measured, read_of, result_table, shown_names

_MADE = {
    "zero_shot": "as it was given: nothing was trained",
    "align": "with aligned projectors",
    "sft": "after a cold start by supervised fine-tuning on reasoning traces",
    "grpo": "after GRPO with rule rewards",
}
_KEYS = (  # of a config, in the order of the card
    *("seed", "format", "dtype", "prompt.modalities"),
    *("lora.rank", "lora.alpha", "lora.targets", "sampling.temperature", "sampling.max_completion_length"),
    *("sft.trainable", "sft.targets", "sft.max_steps", "sft.epochs", "sft.batch_size", "sft.extend"),
    *("sft.optimizer.learning_rate", "grpo.group_size", "grpo.prompts_per_step", "grpo.max_steps", "grpo.epochs"),
    *("grpo.extend", "grpo.optimizer.learning_rate", "loss.kind", "loss.beta", "hint.mode", "hint.threshold"),
    *("adv.scale", "evaluate.decode", "evaluate.fallback"),
)
_WORDS = "I thought it would be better."  # of the example


def model_card(facts: CardFacts, kind: Kind) -> str:
    """The card as Markdown. kind: which of the directories that an export writes."""
    sections = {
        "What it is": _what(facts, kind),
        "Base": _base(facts),
        "Data": [line for data in facts.data for line in _data(data)]
        or ["No data were prepared where it was exported."],
        "How it was trained": _config(facts),
        "What was measured": _measured(facts) if kind != "base" else ["Nothing, of this directory alone."],
        "Quick start": _quick_start(facts, kind),
        "Intended use and limits": [template("card_limits.md").strip()],
        "Licence": _licence(facts),
        "Citation": ["```bibtex", facts.bibtex.strip(), "```"],
    }
    head = f"---\n{metadata(facts, kind).to_yaml().strip()}\n---\n\n# {facts.name} ({kind})"
    return "\n\n".join([head, *(f"## {name}\n\n" + "\n".join(lines) for name, lines in sections.items())]) + "\n"


def _what(facts: CardFacts, kind: Kind) -> list[str]:
    what = {
        "merged": f"A policy for explainable multimodal sentiment analysis, {_MADE[facts.stage]}.",
        "adapter": f"A LoRA adapter for explainable multimodal sentiment analysis, {_MADE[facts.stage]}. It belongs "
        "over the weights of `base`.",
        "base": "The weights that the adapter beside it was trained over.",
    }
    lines = [what[kind]]
    if asked := facts.trained_for:
        lines += [
            "",
            f"It is shown {', '.join(asked.modalities)} of a speaker and answers in the form `{asked.format}`, with "
            f"scores from {asked.score_range[0]:g} to {asked.score_range[1]:g}"
            + (f", asked in `{asked.language}`." if asked.language else "."),
        ]
    if mark := MARKS.get(facts.status):
        lines += ["", f"**{mark.capitalize()}**: the stage `{facts.stage}` ended with the status `{facts.status}`."]
    if facts.warnings:
        lines += ["", "Warnings of the run:", "", *(f"- {_plain(line)}" for line in facts.warnings)]
    if facts.puppets:
        lines += ["", f"Its speakers are drawn. {PUPPETS_NOTE}"]
    return lines


def _base(facts: CardFacts) -> list[str]:
    if not facts.base.name:
        return ["None: training began with random weights, in the architecture of the Qwen2.5-Omni Thinker."]
    said = f", `{facts.architecture}`" if facts.architecture else ", which `transformers` has no class for"
    return [f"`{facts.base.name}`{said}."]


def _data(data: DataFacts) -> list[str]:
    used = "It was trained on" if data.role == "train" else "It was also judged on"
    counts = ", ".join(f"{split} {n:,}" for split, n in data.samples.items())
    low, high = data.score_range
    lines = [
        f"{used} **{_plain(data.title)}**: {counts} clips"
        + (f"; {data.quarantined:,} more could not be used." if data.quarantined else "."),
        "",
        f"- digest of the records: `{data.digest}`",
        f"- language: {', '.join(data.languages) or 'not said'}; scores from {low:g} to {high:g}",
        f"- licence: {_plain(data.licence) or 'not known to this software'}",
        *(f"- {_plain(note)}" for note in data.notes),
        "",
    ]
    return lines


def _config(facts: CardFacts) -> list[str]:
    config = facts.config
    said = ["Nothing was trained. The options of the run:", ""] if facts.stage == "zero_shot" else []
    rows = [(key, value) for key in _KEYS if (value := _at(config, key)) not in (None, [], "")]
    whole = json.dumps(_without_places(config), indent=1, ensure_ascii=False)
    return [
        *said,
        "| option | value |",
        "|---|---|",
        *(f"| `{key}` | {_shown(value)} |" for key, value in rows),
        "",
        "<details><summary>All options</summary>",
        "",
        "```json",
        whole,
        "```",
        "",
        "</details>",
    ]


def _measured(facts: CardFacts) -> list[str]:
    lines = [] if facts.data else ["Nothing."]
    for data in facts.data:
        found, shown = facts.results[data.role], _plain(facts.shown[data.role])
        if facts.stage not in found:
            lines += [f"On {shown}: nothing. This policy was not evaluated there.", ""]
            continue
        names = shown_names(list(found), {facts.stage: facts.status})
        table = result_table([(names[name], result) for name, result in found.items()])
        lines += [f"On {shown}, split `{facts.split}`:", "", *_table(("policy", *table.columns), table), ""]
        lines += [f"- {_plain(note)}" for note in table.notes] + [""]
        numbers = measured(found[facts.stage])
        if any(one.interval for one in numbers):
            n = read_of(found[facts.stage])[1]
            lines += ["| of this policy | value | 95% interval | n |", "|---|---|---|---|"]
            lines += [
                f"| {one.title} | {one.value:.3f} | {one.interval[0]:.3f} to {one.interval[1]:.3f} | {n:,} |"
                for one in numbers
                if one.interval
            ]
            lines += ["", "Intervals are of a bootstrap over clips: they say nothing of other seeds or other data.", ""]
    return lines


def _table(columns: Sequence[str], table: ResultTable) -> list[str]:
    rows = [(row.name, *(cell.text for cell in row.cells)) for row in table.rows]
    return [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns), *(f"| {' | '.join(row)} |" for row in rows)]


def _quick_start(facts: CardFacts, kind: Kind) -> list[str]:
    ours = [
        "Clips with pictures and sound, with this project:",
        "",
        "    python -m emsa_jax.main --config=configs/evaluate.py --config.policy=DIRECTORY --config.data=clips.csv",
    ]
    name = facts.architecture
    if not name or not facts.trained_for:
        return ours
    full = name == "Qwen2_5OmniForConditionalGeneration"
    generate = (
        "thinker_max_new_tokens=512, thinker_do_sample=False, return_audio=False"
        if full
        else "max_new_tokens=512, do_sample=False"
    )
    adapter = ["model = PeftModel.from_pretrained(model, adapter)"] if kind == "adapter" else []
    code = [
        *(["from peft import PeftModel"] if adapter else []),
        f"from transformers import AutoTokenizer, {name}",
        "",
        *(['path, adapter = "base", "adapter"  # the directories'] if adapter else ['path = "."  # this directory']),
        "tokenizer = AutoTokenizer.from_pretrained(path)",
        f"model = {name}.from_pretrained(path)",
        *adapter,
        f"messages = {json.dumps(_example(facts), ensure_ascii=False, indent=4)}",
        'asked = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}',
        "asked = tokenizer.apply_chat_template(messages, **asked)",
        f"answer = model.generate(**asked, {generate})",
        'print(tokenizer.decode(answer[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]
    spoken = "Words alone, with `transformers`" + (" and PEFT:" if adapter else ":")
    return [spoken, "", "```python", *code, "```", "", *ours]


def _example(facts: CardFacts) -> list[dict[str, str]]:
    """The prompt of this project for a clip of which there are words alone; contents are strings, as every chat
    template takes them."""
    asked = facts.trained_for
    concepts = from_config_dict(ConceptOptions, facts.config["concepts"], "config.concepts")
    format = make_format(asked.format, asked.score_range, facts.config["labels"]["neutral_eps"], concepts)
    found = messages(format, _WORDS, asked.language, has_video=False, has_audio=False)
    return [{"role": one["role"], "content": "".join(part["text"] for part in one["content"])} for one in found]


def _licence(facts: CardFacts) -> list[str]:
    if not facts.base.name:
        return ["There is no base whose licence would hold. What the data allow holds for what was learned from them."]
    named = ", ".join(f"`{one}`" for one in facts.base.licences)
    said = f"Of the base: {named}." if named else "No file of the base says under which licence it is."
    return [f"{said} What the data allow holds for what was learned from them, too."]


def _at(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def _without_places(value: Any) -> Any:
    """Options without the directories of the machine that it was trained on: of a path, its last part."""
    if isinstance(value, Mapping):
        return {name: _without_places(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(inner) for inner in value]
    return PurePosixPath(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return _plain(value if isinstance(value, str) else json.dumps(value))


def _plain(text: str) -> str:
    """A text that is no Markdown or HTML, on one line."""
    marked = "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in text)
    return " ".join(marked.split())
