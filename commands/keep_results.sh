#!/usr/bin/env bash
# Copies the files of runs that the report needs into results/, and makes the report there.
#   bash commands/keep_results.sh [RUNS_DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
source commands/environment.sh
runs=${1:-cifar_models}
mkdir -p results
results=$PWD/results
(cd "$runs" && find . \( -path '*/train/config.json' -o -path '*/train/metrics.jsonl' \
  -o -path '*/eval_val/eval.jsonl' \) -exec cp --parents -t "$results" {} +)
python commands/report.py results
