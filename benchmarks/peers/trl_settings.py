"""How TRL's GRPOTrainer is set up beside ours, whatever the policy."""

from __future__ import annotations

import tempfile
from typing import Any

from trl import GRPOConfig


def trl_config(*, prompts: int, group: int, new: int, steps: int, **options: Any) -> GRPOConfig:
    """Steps of `prompts` prompts with `group` answers of `new` tokens, and one more step, which is not counted."""
    return GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=prompts * group,
        num_generations=group,
        max_completion_length=new,
        max_steps=steps + 1,
        beta=0.04,
        temperature=1.0,
        loss_type="grpo",
        learning_rate=1e-4,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        **options,
    )
