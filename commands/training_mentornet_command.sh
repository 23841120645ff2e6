#!/usr/bin/env bash
# Relearns every predefined curriculum, under the paths that the published commands use.
#   bash commands/training_mentornet_command.sh [OUTPUT_DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
source commands/environment.sh
models=${1:-mentornet_models/models}
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT

while read -r vstar_fn folder name; do
  python mentornet_learning/data_generator.py --vstar_fn="$vstar_fn" --outdir="$data/$vstar_fn"
  python mentornet_learning/train.py --data_path="$data/$vstar_fn" \
    --train_dir="$models/$folder" --checkpoint_name="$name"
done <<'CURRICULA'
baseline baseline baseline_mentornet
self_paced self_paced self_paced_mentornet
spcl_linear spcl_linear spcl_linear_mentornet
hard_example_mining hard_example_mining hard_example_mining_mentornet
focal_loss focal_loss focal_loss_mentornet
mentornet_pd mentornet_pd1_g_1 mentornet_pd
CURRICULA
