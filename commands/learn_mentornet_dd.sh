#!/usr/bin/env bash
# Learns the shipped data-driven MentorNet: CIFAR-10 at noise 0.2, 5,000 trusted images.
#   bash commands/learn_mentornet_dd.sh CIFAR10_ARCHIVE_OR_FOLDER [OUTPUT_DIR]
# `inception` is trained for 18 % of 10,000 steps on the labels as given; its losses on the trusted
# images are dumped, and the MentorNet learned from them. A second call resumes where the first
# stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
source commands/environment.sh

source_path=${1:?usage: learn_mentornet_dd.sh CIFAR10_ARCHIVE_OR_FOLDER [OUTPUT_DIR]}
out=${2:-runs/mentornet_dd}
csv=mentornet_models/studentnet_dump_csv/nl_0.2_inception_5k.csv

python code/cifar_prepare_data.py --dataset_name=cifar10 --source="$source_path" \
  --noise_type=uniform --noise_fraction=0.2 --num_trusted=5000 --seed=0 --output_dir="$out/data"
python code/cifar_train_baseline.py --dataset_name=cifar10 --data_dir="$out/data/cifar10/0.2" \
  --train_log_dir="$out/student" --studentnet=inception --num_epochs_per_decay=200 \
  --max_number_of_steps=10000 --stop_after_step=1800 --save_interval_secs=60
grep -qs '^model_checkpoint_path: "model.ckpt-1800"' "$out/student/checkpoint" || {  # Interrupted.
  echo "error: $out/student is not at step 1800; the same command resumes." >&2
  exit 1
}
python code/cifar_eval.py --checkpoint_dir="$out/student" --data_dir="$out/data/cifar10/0.2" \
  --split_name=train --batch_size=100 --output_csv_file="$csv"
python mentornet_learning/data_generator.py --vstar_fn=data_driven \
  --input_csv_filename="$csv" --outdir="$out/rows"
python mentornet_learning/train.py --data_path="$out/rows/nl_0.2_inception_5k_percentile_90" \
  --train_dir=mentornet_models/models/nl_0.2_percentile_90 --checkpoint_name=mentornet_dd
