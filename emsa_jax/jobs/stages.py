"""The stages of a run in turn. A stage that was finished with the same inputs, and whose outputs are sound, is skipped.

What a stage depends on is the options that it is handed, and the files that it reads: `Stage.inputs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.config.edge import pick
from emsa_jax.data.datasets import datasets
from emsa_jax.evaluation.sentiment_metrics import family_of
from emsa_jax.jobs.evaluate import EvaluateSettings, evaluate
from emsa_jax.jobs.export import ExportSettings, export
from emsa_jax.jobs.prepare import PrepareSettings, prepare_all
from emsa_jax.jobs.report import report
from emsa_jax.parallel import processes
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.policy_options import EMBEDDED
from emsa_jax.report.run_files import ReportSettings
from emsa_jax.report.run_report import write_page
from emsa_jax.rollout.prompted_data import open_split
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.run import Run
from emsa_jax.settings.config import Config
from emsa_jax.training import artifacts
from emsa_jax.training.align import align
from emsa_jax.training.grpo import grpo
from emsa_jax.training.input_checks import InputSettings, check_shown, splits_read
from emsa_jax.training.input_checks import check_inputs as check_settings
from emsa_jax.training.sft import sft
from emsa_jax.training.stage_settings import AlignSettings, GrpoSettings, SftSettings, TrainSettings


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage that is skipped as a whole once it is done.

    settings: the options that it reads, a dataclass that `pick` takes out of a run's config; its method `content` has
    hashes of the files that the stage reads. outputs: what it writes, as paths in the work directory.
    """

    work: Callable[..., None]
    settings: type
    outputs: tuple[str, ...]

    def inputs(self, run: Run, config: Config) -> str:
        """A digest of all that the results of the stage depend on."""
        settings = pick(self.settings, config)
        return artifacts.inputs_digest(settings, *settings.content(run))


def check_inputs(config: Config) -> None:
    """Looks at all that the user named, before anything is made of it. Raises InputError naming what is wrong."""
    check_settings(pick(InputSettings, config), family_of)


def run_stages(run: Run, config: Config) -> None:
    """Runs what `config.stages` names. Preparing and evaluating keep what is finished of their parts by themselves."""
    if "prepare" not in config.stages:
        processes.broadcast(lambda: _check_prompts(run, config), "prompts")
    for name in config.stages:
        if name == "prepare":  # without work for devices, as is report: process 0 alone
            processes.broadcast(lambda: prepare_all(run, pick(PrepareSettings, config)), name)
            processes.broadcast(lambda: _check_prompts(run, config), "prompts")
            continue
        if name == "report":
            processes.broadcast(lambda: report(run, pick(ReportSettings, config)), name)
            continue
        if name == "sft" and "grpo" in config.stages:
            _check_batch(run, config)
        if config.policy in EMBEDDED and config.adapter:  # whose base was made only now
            base = artifacts.policy_dir(run, config)
            processes.broadcast(
                lambda base=base: artifacts.check_base(Path(config.adapter), base), "the adapter's base"
            )
        if name == "evaluate":
            evaluate(run, pick(EvaluateSettings, config))
        else:
            _run_stage(run, config, name, STAGES[name])


def _run_stage(run: Run, config: Config, name: str, stage: Stage) -> None:
    inputs = processes.broadcast(lambda: stage.inputs(run, config), f"what {name} reads")
    if run.stage_done(name, inputs):
        say(f"{name}: done already")
        if config.strict:
            artifacts.refuse_warned(run.workdir, name)
        return
    settings = pick(stage.settings, config)
    if issubclass(
        stage.settings, TrainSettings | AlignSettings
    ):  # they run long enough for somebody to look at the page meanwhile
        page = pick(ReportSettings, config)
        stage.work(run, settings, lambda: write_page(run, page, live=True))
    else:
        stage.work(run, settings)
    run.mark_done(name, inputs, [path for output in stage.outputs if (path := run.path(output)).exists()])


def _check_prompts(run: Run, config: Config) -> None:
    """Raises InputError, before anything is learned, if a prompt that a stage will come to fits no bucket, or if all of
    them would show nothing; warns if some do."""
    checkpoint = config.prompt.buckets and open_checkpoint(artifacts.policy_dir(run, config), weights=False)
    for role in datasets(config):
        records = artifacts.records_dir(run, config, role)
        check_shown(records, config.prompt.modalities, config.stages, config.evaluate.split, role)
        for split in sorted({split for _, split in splits_read(config.stages, config.evaluate.split, role)}):
            if checkpoint:
                learned_as = artifacts.training_manifest(run, config, role)
                open_split(config, records, checkpoint, split, taught=learned_as).buckets()


def _check_batch(run: Run, config: Config) -> None:
    """Raises InputError, before anything is learned, if a step of GRPO cannot be cut as the mesh cuts batches."""
    policy = read_checked_config(artifacts.policy_dir(run, config))
    placement = Placement.of(policy, mesh=config.mesh, dtype=config.dtype, trained=config.lora, announce=False)
    placement.sharding.check(config.grpo.prompts_per_step, "grpo.prompts_per_step", config.grpo.micro_batches)


STAGES = {
    "align": Stage(work=align, settings=AlignSettings, outputs=("align/policy",)),
    "sft": Stage(work=sft, settings=SftSettings, outputs=("sft/policy", "sft/adapter", "sft/summary.json")),
    "grpo": Stage(work=grpo, settings=GrpoSettings, outputs=("grpo/adapter", "grpo/summary.json")),
    "export": Stage(work=export, settings=ExportSettings, outputs=("export",)),
}
