#!/usr/bin/env bash
# Makes the pictures in docs/pictures: every shipped curriculum, with its target below.
set -euo pipefail
cd "$(dirname "$0")/.."
source commands/environment.sh
pictures=docs/pictures
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$pictures"

draw() {
  local name=$1
  shift
  python mentornet_learning/visualizer.py --model_dir="$name" --outdir="$work" --loss_bound=5 "$@"
  mv "$work/curriculum.png" "$pictures/$name.png"
}

for name in baseline self_paced spcl_linear hard_example_mining focal_loss mentornet_pd; do
  draw "$name" --vstar_fn="$name" --epoch_ranges=0,20,50,95
done
draw mentornet_dd --epoch_ranges=18
draw mentornet_dd_history --epoch_ranges=18 --further_features=2,0.8,-0.1
