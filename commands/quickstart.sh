#!/usr/bin/env bash
# Shows MentorNet at work in minutes: digits with 40 % of the labels redrawn, baseline and MentorNet PD.
#   bash commands/quickstart.sh [OUTPUT_DIR]
# Only Python packages are downloaded. A second call resumes where the first stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
source commands/environment.sh

out=${1:-runs/quickstart}
mkdir -p "$out"
python code/cifar_prepare_data.py --dataset_name=digits --noise_type=uniform --noise_fraction=0.4 \
  --seed=0 --output_dir="$out/data"

# If the training ends early, the evaluation job is ended, too.
eval_job=
trap '[ -z "$eval_job" ] || kill "$eval_job" 2>/dev/null || true' EXIT

# Usage: train METHOD SCRIPT [FLAG ...]; the evaluation job runs alongside in a separate process.
train() {
  local method=$1 script=$2
  shift 2
  python code/cifar_eval.py --checkpoint_dir="$out/$method/train" --eval_dir="$out/$method/eval" \
    --data_dir="$out/data/digits/val" --eval_interval_secs=1 > "$out/$method-eval.log" 2>&1 &
  eval_job=$!
  python "code/$script" --dataset_name=digits --data_dir="$out/data/digits/0.4" \
    --train_log_dir="$out/$method/train" --studentnet=inception --max_number_of_steps=600 \
    --learning_rate_boundaries=400 --save_interval_secs=5 --max_to_keep=100 "$@"
  [[ -e "$out/$method/train/model.ckpt-600.index" ]] || {
    echo "Stopped; the same command resumes." >&2
    exit 130
  }
  wait "$eval_job" || { echo "error: the evaluation failed; see $out/$method-eval.log." >&2; exit 1; }
  eval_job=
}

train baseline cifar_train_baseline.py
train mentornet_pd cifar_train_mentornet.py \
  --trained_mentornet_dir=mentornet_models/models/mentornet_pd1_g_1/mentornet_pd \
  --loss_p_percentile=0.6 --example_dropout_rates="0.0,100"
python commands/quickstart_report.py --output_dir="$out"
