"""The stages that learn: the loops of the cold start and of GRPO, their compiled steps and their metrics."""
