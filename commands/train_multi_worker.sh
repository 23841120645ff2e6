#!/usr/bin/env bash
# Trains on several machines; run it on each of them, with the machine's number:
#   bash commands/train_multi_worker.sh HOST:PORT,HOST:PORT,... NUMBER [FLAG ...]
# NUMBER counts from 0; the flags are those of cifar_train_mentornet.py and must be the same
# everywhere. data_dir may be a copy on each machine; train_log_dir must be visible to all.
# Batches are divided among the machines. If one dies, start its command again, without --overwrite:
# the others wait for it (--cluster_timeout_secs) and resume from the latest checkpoint. To try it on
# one machine:
#   workers=localhost:2222,localhost:2223
#   bash commands/train_multi_worker.sh $workers 1 --data_dir=... --train_log_dir=... &
#   bash commands/train_multi_worker.sh $workers 0 --data_dir=... --train_log_dir=...
set -euo pipefail
cd "$(dirname "$0")/.."
source commands/environment.sh
workers=${1:?usage: train_multi_worker.sh HOST:PORT,HOST:PORT,... NUMBER [FLAG ...]}
number=${2:?usage: train_multi_worker.sh HOST:PORT,HOST:PORT,... NUMBER [FLAG ...]}
shift 2
export TF_CONFIG="{\"cluster\": {\"worker\": [\"${workers//,/\", \"}\"]},
  \"task\": {\"type\": \"worker\", \"index\": $number}}"
exec python code/cifar_train_mentornet.py "$@"
