#!/usr/bin/env bash
# A GKE cluster that xpk made (pip install xpk), restarted after every pre-emption (exit code 42) up to 50 times:
#   CLUSTER=my-cluster NAME=emsa TYPE=v5litepod-16 IMAGE=REGION-docker.pkg.dev/PROJECT/emsa/tpu:1 launch/xpk.sh \
#       --config=configs/grpo.py:msa_thinker --config.policy=/share/qwen --config.data=/share/records \
#       --config.traces=/share/traces.jsonl --workdir=/share/run
# IMAGE: of launch/Dockerfile.tpu. /share: `xpk storage attach` makes a Filestore one for all hosts.
# EXTRA="--dry-run --output-manifest-file=job.yaml" writes the JobSet and submits nothing.
set -euo pipefail
: "${CLUSTER:?}" "${NAME:?}" "${TYPE:?}" "${IMAGE:?}"
read -ra extra <<< "${EXTRA:-}"
exec xpk workload create --cluster="$CLUSTER" --workload="$NAME" --tpu-type="$TYPE" --num-slices="${SLICES:-1}" \
  --docker-image="$IMAGE" --max-restarts="${RESTARTS:-50}" --termination-grace-period-seconds=300 \
  --env-file="$(dirname "$0")/env.tpu" "${extra[@]}" --command="exec python -m emsa_jax.main $(printf '%q ' "$@")"
