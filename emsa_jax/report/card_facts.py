"""What a model card says of a run, read from its work directory: where the policy comes from, the data, what came out.

Nothing is said that is not in a file: what nobody wrote down stays empty.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emsa_jax.data.datasets import PUPPETS, DataSettings, datasets, is_prepared, reader_of
from emsa_jax.data.facts import facts_of
from emsa_jax.data.records import read_manifest
from emsa_jax.json_file import read_object
from emsa_jax.policy.companions import CARD
from emsa_jax.policy.trained_for import TrainedFor, read_trained_for
from emsa_jax.report.citations import citations
from emsa_jax.report.result_table import POLICIES
from emsa_jax.report.run_files import data_name, read_result, statuses, warnings_of
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import records_dir, stage_summary

_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_RELEASED = re.compile(r"Qwen2\.5-Omni-[37]B")
_LICENCES = (("Apache License", "apache-2.0"), ("MIT License", "mit"), ("GNU GENERAL PUBLIC LICENSE", "gpl"))


@dataclass(frozen=True, kw_only=True)
class BaseFacts:
    """The policy that a run began with. name: on the Hub, or of its directory; "" for random weights. licences: as the
    Hub names them, () where no file says any."""

    name: str
    licences: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """A data set of a run. samples: clips a split, quarantined ones apart."""

    role: str
    title: str
    kind: str
    digest: str
    samples: Mapping[str, int]
    quarantined: int
    languages: tuple[str, ...]
    score_range: tuple[float, float]
    licence: str
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """stage: whose policy is described. status: what has become of that stage. results: role of a data set -> stage ->
    metrics.json. architecture: the class of `transformers`, "" where there is none. bibtex: what to cite."""

    stage: str
    status: str
    warnings: tuple[str, ...]
    base: BaseFacts
    data: tuple[DataFacts, ...]
    split: str
    config: Mapping[str, Any]
    results: Mapping[str, Mapping[str, dict]]
    shown: Mapping[str, str]
    architecture: str
    trained_for: TrainedFor | None
    bibtex: str

    @property
    def name(self) -> str:
        """What it is called: by its base, what it was trained on, and the last stage. The work directory has no part in
        it, so that equal runs leave equal files."""
        parts = (self.base.name.rpartition("/")[2] or "tiny", Path(self.config["data"]).name, self.stage)
        return "-".join(re.sub(r"[^\w.]+", "-", part).strip("-") for part in parts if part)

    @property
    def puppets(self) -> bool:
        """Whether it was trained on drawn speakers."""
        return self.config.get("data", "") in PUPPETS


def card_facts(run: Run, settings: DataSettings, stage: str, directory: Path, adapter: Path | None) -> CardFacts:
    """The facts of a policy of a run. stage: of `artifacts.policies`. directory, adapter: the policy."""
    config = run.config
    known = datasets(settings) if settings.data else {}
    roles = [role for role in known if is_prepared(records_dir(run, settings, role))]  # an export needs none of them
    return CardFacts(
        stage=stage,
        status=str(stage_summary(run.workdir, stage).get("status", "")),
        warnings=tuple(warnings_of(run.workdir)),
        base=base_facts(str(config.get("policy", ""))),
        data=tuple(_data_facts(run, settings, role) for role in roles),
        split=config["evaluate"]["split"],
        config=config,
        results={role: _results(run.workdir, stage, role) for role in roles},
        shown={role: data_name(settings, role) for role in roles},
        architecture=_architecture(directory),
        trained_for=read_trained_for(adapter, directory),
        bibtex=citations(run.workdir),
    )


def measured_digest(workdir: Path) -> str:
    """A hash of the results that a card shows, and of what has become of the stages."""
    files = sorted(path for name in POLICIES for path in workdir.glob(f"evaluate/{name}/*/metrics.json"))
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return hashlib.sha256(json.dumps([parts, statuses(workdir)]).encode()).hexdigest()


def base_facts(policy: str) -> BaseFacts:
    """What the files of a policy directory say of its origin. policy: as the config names it."""
    if policy == "tiny":
        return BaseFacts(name="")
    directory = Path(policy)
    front = _front_matter(directory / CARD)
    found = read_object(directory / "config.json") or {}
    named = str(found.get("_name_or_path", ""))
    released = _RELEASED.fullmatch(directory.name)
    name = named if _HUB.fullmatch(named) else f"Qwen/{directory.name}" if released else directory.absolute().name
    licences = [front["license"]] if "license" in front else _licences(directory)
    return BaseFacts(name=name, licences=tuple(licences))


def _licences(directory: Path) -> list[str]:
    """By the first words of the files that hold them, in the Hub's spelling."""
    papers = sorted(path for path in directory.glob("LICEN[CS]E*") if path.is_file())
    heads = [path.read_text(encoding="utf-8", errors="replace")[:400] for path in papers]
    return list(dict.fromkeys(name for head in heads for words, name in _LICENCES if words in head))


def _front_matter(path: Path) -> dict[str, str]:
    """The plain `name: value` lines at the head of a card."""
    if not path.is_file():
        return {}
    head = re.match(r"---\r?\n(.*?)\r?\n---", path.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    return dict(re.findall(r"^(\w+):[ \t]*([\w.\-/]+)[ \t]*$", head[1], re.MULTILINE)) if head else {}


def _data_facts(run: Run, settings: DataSettings, role: str) -> DataFacts:
    dataset, manifest = datasets(settings)[role], read_manifest(records_dir(run, settings, role))
    drawn = dataset.data in PUPPETS
    kind = "" if drawn else manifest.dataset or reader_of(dataset)
    facts = facts_of(kind)
    known = not drawn and facts is not facts_of("")
    return DataFacts(
        role=role,
        title=f"drawn speakers ({dataset.data})" if drawn else facts.title if known else Path(dataset.data).name,
        kind="puppets" if drawn else kind or "own",
        digest=manifest.digest,
        samples=manifest.samples,
        quarantined=len(manifest.quarantined),
        languages=tuple(manifest.languages),
        score_range=tuple(manifest.score_range),
        licence="none: they are drawn by this software" if drawn else facts.licence if known else "",
        notes=facts.notes if known else (),
    )


def _results(workdir: Path, stage: str, role: str) -> dict[str, dict]:
    """Of the policy that the run began with, and of the one that is described; {} where neither was evaluated."""
    found = {name: read_result(workdir, name, role) for name in ("zero_shot", stage)}
    return {name: result for name, result in found.items() if result}


def _architecture(directory: Path) -> str:
    found = (read_object(directory / "config.json") or {}).get("architectures")
    return str(found[0]) if isinstance(found, list) and found else ""
