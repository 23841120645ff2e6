#!/usr/bin/env bash
# Trains and evaluates every published run of `resnet101`; flags are those of commands/launch.py:
#   bash commands/train_studentnet_resnet.sh [--gpus=0,1,2] [--filter=cifar10/] [--dry_run] ...
set -euo pipefail
cd "$(dirname "$0")/.."
source commands/environment.sh
exec python commands/launch.py --table=commands/published_runs.csv --filter=/resnet/ "$@"
