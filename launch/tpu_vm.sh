#!/usr/bin/env bash
# A slice of Cloud TPUs as a queued resource, the same command on all its hosts, and again after every pre-emption:
#   NAME=emsa ZONE=us-west4-a TYPE=v5litepod-16 SHARE=10.0.0.2:/share launch/tpu_vm.sh --config=configs/grpo.py:msa_thinker \
#       --config.policy=/share/qwen --config.data=/share/records --config.traces=/share/traces.jsonl --workdir=/share/run
# SHARE: an NFS export (Filestore, of the slice's network) that all hosts mount at /share, with policy, records and traces.
# EXTRA: further options of `queued-resources create`, such as --spot. Names: v5litepod-16 has 16 chips, v5p-8 has 4.
# Start it where it can stay, in tmux on a small machine: it watches the slice, and ends with the run (code 0), with its
# error, or after TRIES slices or starts in a row that came to nothing within 10 minutes. Needs gcloud, logged in.
set -euo pipefail
: "${NAME:?}" "${ZONE:?}" "${TYPE:?}" "${SHARE:?}"
PAUSE=${PAUSE:-30} TRIES=${TRIES:-5} failures=0
read -ra extra <<< "${EXTRA:-}"
case $TYPE in
  v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
  v5p-*) runtime=v2-alpha-tpuv5 ;;
  v6e-*) runtime=v2-alpha-tpuv6e ;;
  *) echo "TYPE $TYPE: say v5litepod-N, v5p-N or v6e-N" >&2; exit 2 ;;
esac
queued() { local verb=$1; shift; gcloud compute tpus queued-resources "$verb" "$NAME" --zone="$ZONE" --quiet "$@"; }
state() { queued describe --format='value(state.state)' 2>/dev/null || echo NONE; }
on_all() { gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=all --quiet --command="$1"; }
failed() {  # counts what came to nothing
  failures=$((failures + 1))
  [ "$failures" -lt "$TRIES" ] || { echo "$NAME: $failures times in a row: $1" >&2; exit "$2"; }
}
acquire() {  # until the slice is there; a suspended one never comes back by itself
  local now
  while now=$(state); [ "$now" != ACTIVE ]; do
    echo "$(date +%T) $NAME: $now" >&2
    case $now in
      NONE) queued create --node-id="$NAME" --accelerator-type="$TYPE" --runtime-version="$runtime" "${extra[@]}" ;;
      FAILED) queued describe --format='value(state)' >&2; failed "the slice is FAILED" 1; queued delete --force ;;
      SUSPENDED) queued delete --force ;;
    esac
    sleep "$PAUSE"
  done
}
install() {
  tar czf "/tmp/$NAME.tgz" --exclude=.venv --exclude=.git --exclude=./runs --exclude=./data . &&
    gcloud compute tpus tpu-vm scp "/tmp/$NAME.tgz" "$NAME:/tmp/emsa.tgz" --zone="$ZONE" --worker=all --quiet &&
    on_all "sudo mkdir -p /share && { mountpoint -q /share || sudo mount -t nfs $SHARE /share; } && mkdir -p emsa_jax &&
    cd emsa_jax && tar xzf /tmp/emsa.tgz && pip install -q uv && python3 -m uv venv -q --allow-existing --python 3.11 &&
    python3 -m uv pip install -q -r requirements.txt -e '.[tpu]'"
}

while :; do
  acquire
  code=0 begun=$SECONDS
  { install && on_all "cd emsa_jax && set -a && . launch/env.tpu && set +a &&
    exec .venv/bin/python -m emsa_jax.main $(printf '%q ' "$@")"; } || code=$?
  case $code in
    0) exit 0 ;;
    42) ;;  # told to stop, and saved
    *) [ "$(state)" != ACTIVE ] || [ "$code" = 255 ] || exit "$code" ;;  # 255: a host cannot be reached
  esac
  [ $((SECONDS - begun)) -lt 600 ] || failures=0
  failed "the run ended with code $code within 10 minutes" "$code"
  echo "$(date +%T) $NAME: again (code $code)" >&2
  sleep "$PAUSE"
done
