"""The Qwen2.5-Omni Thinker as pure functions on pytrees."""

import os

os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # transformers would complain that torch is not there
