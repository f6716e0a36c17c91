#!/usr/bin/env bash
# GPUs under Slurm, a process each:
#   make install EXTRA=cuda
#   sbatch --nodes=2 --partition=... launch/slurm.sh --config=configs/grpo.py:msa_thinker --config.policy=/shared/qwen \
#       --config.data=/shared/records --config.traces=/shared/traces.jsonl --workdir=/shared/run
# Two minutes before the time is up, and when the job is pre-empted, processes are told to stop: they save and end with
# code 42, and the job goes back into the queue; so it does after a signal (128 and more), up to RESTARTS times in all.
# The environment is .venv; all nodes see this directory, policy, data and workdir. 12 cores a GPU are asked for: say
# --cpus-per-task where a node has fewer. NCCL's own settings (NCCL_SOCKET_IFNAME, NCCL_IB_HCA) go into launch/env.gpu.
#SBATCH --job-name=emsa --nodes=1 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=12
#SBATCH --time=24:00:00 --signal=TERM@120 --requeue --open-mode=append
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:?start it with sbatch}" || exit 2
set -a
# shellcheck source=launch/env.gpu
. launch/env.gpu
set +a
code=0
srun --kill-on-bad-exit=0 --cpus-per-task="${SLURM_CPUS_PER_TASK:-12}" .venv/bin/python -m emsa_jax.main "$@" || code=$?
if [ "$code" = 42 ] || [ "$code" -ge 128 ]; then
  [ "${SLURM_RESTART_COUNT:-0}" -ge "${RESTARTS:-50}" ] || exec scontrol requeue "$SLURM_JOB_ID"
  echo "code $code after ${SLURM_RESTART_COUNT:-0} restarts: not put back again" >&2
fi
exit "$code"
