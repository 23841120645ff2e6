#!/usr/bin/env bash
# Learns the shipped MentorNet that sees each sample's history: CIFAR-10 at noise 0.4, 1,000 trusted
# images of 10,000, five moments of a training on the labels as given.
#   bash commands/learn_mentornet_dd_history.sh CIFAR10_ARCHIVE_OR_FOLDER [OUTPUT_DIR]
# What is done is skipped: a second call resumes where the first stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
source commands/environment.sh

source_path=${1:?usage: learn_mentornet_dd_history.sh CIFAR10_ARCHIVE_OR_FOLDER [OUTPUT_DIR]}
out=${2:-runs/mentornet_dd_history}
name=nl_0.4_resnet8_history
csv=mentornet_models/studentnet_dump_csv/$name.csv

python code/cifar_prepare_data.py --dataset_name=cifar10 --source="$source_path" \
  --noise_fraction=0.4 --num_train=10000 --num_trusted=1000 --seed=0 --output_dir="$out/data"
dumps=()
for step in 546 1092 1638 2184 2730; do  # Of 3,000: 18, 36, 54, 72 and 91 %.
  dumps+=("$out/dump_$step.csv")
  [[ -e ${dumps[-1]} ]] && continue
  python code/cifar_train_baseline.py --dataset_name=cifar10 --data_dir="$out/data/cifar10/0.4" \
    --train_log_dir="$out/student" --studentnet=resnet8 --noaugment --mixed_precision=bfloat16 \
    --record_sample_weights --max_number_of_steps=3000 --stop_after_step="$step"
  grep -qs "^model_checkpoint_path: \"model.ckpt-$step\"" "$out/student/checkpoint" || {  # Interrupted.
    echo "error: $out/student is not at step $step; the same command resumes." >&2
    exit 1
  }
  python code/cifar_eval.py --checkpoint_dir="$out/student" --data_dir="$out/data/cifar10/0.4" \
    --split_name=train --output_csv_file="${dumps[-1]}" \
    --dump_features=mean_loss,wrong_share,probability_margin
done
cat "${dumps[@]}" > "$csv"
python mentornet_learning/data_generator.py --vstar_fn=data_driven \
  --input_csv_filename="$csv" --fixed_epoch=18 --outdir="$out/rows"
python mentornet_learning/train.py --data_path="$out/rows/${name}_percentile_60" \
  --train_dir=mentornet_models/models/nl_0.4_history_percentile_60 \
  --checkpoint_name=mentornet_dd_history
