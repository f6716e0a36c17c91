"""What training exports of smol, with sound, against `transformers` and PEFT.

    python benchmarks/smol_export.py --policy weights/smol --data DIR [--torchvision DIR] [--updates 4] [--workdir DIR]

data: DIR/audio/ravdess/Actor_XX/*.flac, of which every twentieth clip is taken. A run aligns the projector, trains LoRA
on the text model and on the audio tower with the projector trained whole beside it, and exports. Then the merged
directory in `transformers`, and the base with the adapter in PEFT, are given clips through `AutoProcessor`: prompts,
logits and greedy answers are compared with ours. torchvision: as for benchmarks/weights.py. Exit code 1 where a prompt
or an answer differs, or a logit by more than 5e-3.
"""

import argparse
import functools
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import real_clips
import soundfile
import torch
from weights import import_torchvision

from emsa_jax.answers.formats import make_format
from emsa_jax.answers.messages import messages
from emsa_jax.data.mel import log_mel
from emsa_jax.data.pipeline import Clips
from emsa_jax.data.records import Clip
from emsa_jax.jobs.stages import run_stages
from emsa_jax.policy import peft, thinker
from emsa_jax.policy.checkpoint import Checkpoint, open_checkpoint
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.prompt_row import Row
from emsa_jax.rollout.answering import answer
from emsa_jax.rollout.prompts import Prompter
from emsa_jax.rollout.rollout_options import PromptOptions, SamplingOptions
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.run import open_run
from emsa_jax.settings.config import Config
from emsa_jax.settings.presets import smol

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "audio.q_proj", "audio.fc2")
EVERY, ANSWER, LIMIT = 20, 8, 5e-3


def config_of(args: argparse.Namespace, table: Path) -> Config:
    """A run of a few updates."""
    base = smol()
    sft = replace(base.sft, max_steps=args.updates, eval_every=args.updates, save_every=args.updates)
    return replace(
        base,
        policy=args.policy,
        data=str(table),
        score_range=(-1.0, 1.0),
        stages=("prepare", "align", "sft", "export"),
        format="class_only",
        evaluate=replace(base.evaluate, decode="greedy"),
        prompt=PromptOptions(modalities=("audio",)),
        lora=LoraOptions(16, 128.0, TARGETS, also=("audio.proj",)),
        sft=sft,
    )


def ours_of(checkpoint: Checkpoint, adapter, rows: list[Row]) -> tuple[list[np.ndarray], list[list[int]]]:
    """(logits [tokens, vocabulary], ids of the greedy answer) of each prompt."""
    config, inputs = checkpoint.config, build_inputs(checkpoint.config, rows)
    logits = jax.jit(lambda params, adapter, inputs: thinker.logits(params, adapter, config, inputs))
    sampling = SamplingOptions(temperature=0.0, max_completion_length=ANSWER)
    greedy = jax.jit(functools.partial(answer, config=config, sampling=sampling, group_size=1))
    ids, noise = np.arange(len(rows), dtype=np.int32), np.zeros(3, np.int32)
    done = jax.device_get(greedy(checkpoint.params, adapter, inputs, noise, ids))
    answers = [done.tokens[i, 0, : done.length[i, 0]].tolist() for i in range(len(rows))]
    found = np.asarray(logits(checkpoint.params, adapter, inputs))
    return [found[i, -len(row.tokens) :] for i, row in enumerate(rows)], answers


def theirs_of(model, given: dict) -> tuple[np.ndarray, list[int]]:
    """The same of one prompt, by `transformers`."""
    with torch.no_grad():
        logits = model(**given).logits[0].numpy()
        whole = model.generate(**given, max_new_tokens=ANSWER, do_sample=False)
    return logits, whole[0, given["input_ids"].shape[1] :].tolist()


def clips_of(run: Path, count: int) -> tuple[list[Clip], Prompter]:
    """Clips of the test split, and what asks about them."""
    checkpoint = open_checkpoint(run / "export/merged")
    records = run / "records" / "train"
    format = make_format("class_only", (-1.0, 1.0), 0.0, smol().concepts)
    return list(Clips(records, "test"))[:count], Prompter(checkpoint, format, PromptOptions(modalities=("audio",)))


def compared(checkpoint: Checkpoint, row: Row, ours: tuple, given: dict, theirs: tuple) -> tuple[str, bool]:
    """(what is found, whether it is wrong) of one prompt. ours, theirs: (logits, ids of the answer)."""
    same = given["input_ids"][0].tolist() == row.tokens
    gap = float(np.abs(ours[0] - theirs[0]).max()) if same else np.inf
    texts = [checkpoint.tokenizer.decode(ids) for _, ids in (ours, theirs)]
    line = (
        f"prompt {'equal' if same else 'DIFFERS'}, logits up to {np.abs(theirs[0]).max():.0f} at most {gap:.1e} apart, "
        f"ours {texts[0]!r}, theirs {texts[1]!r}"
    )
    return line, not same or gap > LIMIT or ours[1] != theirs[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default="weights/smol")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--torchvision", default="")
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--workdir", type=Path, default=Path("runs/smol_export"))
    args = parser.parse_args()
    kept = import_torchvision(args.torchvision) if args.torchvision else None  # before transformers looks for it
    rows = list(real_clips.ravdess(args.data.absolute()))[::EVERY]  # a few of each split
    table = real_clips.write_table(args.workdir / "clips" / "clips.csv", rows)
    config = config_of(args, table)
    with open_run(args.workdir / "run", config) as run:
        keep_compiled(args.workdir / "compilation_cache")
        run_stages(run, config)
    from peft import PeftModel
    from transformers import AutoProcessor
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

    made = args.workdir / "run" / "export"
    clips, prompter = clips_of(args.workdir / "run", args.clips)
    files = {path.stem: path for path in args.data.glob("audio/ravdess/Actor_*/*.flac")}
    waves = [soundfile.read(files[clip.id], dtype="float32")[0] for clip in clips]
    # records hold log-mel in 16 bits, which adapters of a few updates amplify: both sides are given all digits
    rows = [prompter.row(replace(clip, mel=log_mel(wave))) for clip, wave in zip(clips, waves, strict=True)]
    processor = AutoProcessor.from_pretrained(made / "merged", trust_remote_code=False)
    merged, base = open_checkpoint(made / "merged"), open_checkpoint(made / "base")
    chat = messages(prompter.format, "", "en", False, True)
    asked = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    options = dict(dtype=torch.float32, attn_implementation="eager")
    models = {
        "merged": (Thinker.from_pretrained(made / "merged", **options), merged, None),
        "adapter": (
            PeftModel.from_pretrained(Thinker.from_pretrained(made / "base", **options), made / "adapter"),
            base,
            peft.load_adapter(made / "adapter", base.config),
        ),
    }
    failed = 0
    for name, (model, checkpoint, adapter) in models.items():
        ours = ours_of(checkpoint, adapter, rows)
        for clip, wave, row, logits, said in zip(clips, waves, rows, *ours, strict=True):
            given = dict(processor(text=asked, audio=[wave], return_tensors="pt"))
            line, wrong = compared(checkpoint, row, (logits, said), given, theirs_of(model.eval(), given))
            failed += wrong
            print(f"{name}, {clip.id}: {line}{' FAILED' * wrong}", flush=True)
    print(f"{len(models) * len(clips)} comparisons, {failed} failed")
    del kept
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
