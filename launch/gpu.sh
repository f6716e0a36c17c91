#!/usr/bin/env bash
# One process on one GPU:  launch/gpu.sh --config=configs/grpo.py:msa_thinker --config.policy=DIR --config.data=DIR ...
# Needs pip install -e '.[cuda]'. What varies by machine is set here and nowhere else.
set -euo pipefail
export JAX_PLATFORMS=cuda
export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}  # the rest is for the driver and cuDNN
exec python -m emsa_jax.main "$@"
