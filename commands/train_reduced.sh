#!/usr/bin/env bash
# Trains the reduced runs on real CIFAR-10 whose results are in results/, and makes the report.
#   bash commands/train_reduced.sh CIFAR10_ARCHIVE_OR_FOLDER [CIFAR10N.npz] [flags of launch.py]
# 10,000 images, one in ten of them trusted; labels drawn anew with probability 0.2, 0.4 and 0.8,
# and the human labels of CIFAR-10N if its file is given. A second call resumes where the first
# stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
source commands/environment.sh

source_path=${1:?usage: train_reduced.sh CIFAR10_ARCHIVE_OR_FOLDER [CIFAR10N.npz] [FLAGS]}
shift
prepare() {
  python code/cifar_prepare_data.py --dataset_name=cifar10 --source="$source_path" --seed=0 "$@"
}
reduced=(--num_train=10000 --num_trusted=1000 --output_dir=data/reduced)

for noise in 0.2 0.4 0.8; do
  prepare --noise_fraction=$noise "${reduced[@]}"
done
if [[ ${1:-} == *.npz ]]; then
  for key in worse_label aggre_label; do
    prepare --noise_type=file --noise_file="$1" --noise_key=$key "${reduced[@]}"
  done
  shift
fi
prepare --noise_fraction=0.4 --output_dir=data

exec python commands/launch.py --table=commands/reduced_runs.csv "$@"
