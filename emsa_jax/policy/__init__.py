"""The Qwen2.5-Omni Thinker as pure functions on pytrees."""
