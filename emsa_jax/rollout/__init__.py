"""Group sampling from one prompt cache, and hint re-rollouts."""
