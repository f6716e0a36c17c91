#!/usr/bin/env bash
# One process on a single-host TPU VM:  launch/tpu_vm.sh --config=configs/grpo.py ...
# Needs pip install -e '.[tpu]'. This version trains on one device.
set -euo pipefail
export JAX_PLATFORMS=tpu,cpu
exec python -m emsa_jax.main "$@"
