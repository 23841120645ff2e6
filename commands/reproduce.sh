#!/usr/bin/env bash
# From the archives of CIFAR-10 and CIFAR-100 to the runs whose results are in results/, and the report.
#   bash commands/reproduce.sh CIFAR10 [CIFAR10N.npz] [CIFAR100] [flags of launch.py]
#   bash commands/reproduce.sh --reduced CIFAR10 [CIFAR10N.npz] [flags of launch.py]
# Archives are official ones or their unpacked folders; without the human labels or CIFAR-100, their
# runs are skipped. All 50,000 images with airbench93; with --reduced 10,000 of CIFAR-10 with resnet8
# for long enough to memorise. Finished steps are skipped: a second call resumes where the first stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
source commands/environment.sh

table=commands/fast_runs.csv options=(--num_trusted=5000 --output_dir=data/full)
if [[ ${1:-} == --reduced ]]; then
  table=commands/reduced_runs.csv options=(--num_train=10000 --num_trusted=1000 --output_dir=data/reduced)
  shift
fi
cifar10=${1:?usage: reproduce.sh CIFAR10 [CIFAR10N.npz] [CIFAR100] [FLAGS], or --reduced CIFAR10 [CIFAR10N.npz] [FLAGS]}
shift
prepare() {
  python code/cifar_prepare_data.py --seed=0 "$@"
}

for noise in 0.2 0.4 0.8; do
  prepare --dataset_name=cifar10 --source="$cifar10" --noise_fraction=$noise "${options[@]}"
done
left_out=(worse_label aggre_label cifar100)
if [[ ${1:-} == *.npz ]]; then
  for key in worse_label aggre_label; do
    prepare --dataset_name=cifar10 --source="$cifar10" --noise_type=file --noise_file="$1" \
      --noise_key=$key "${options[@]}"
  done
  left_out=(cifar100)
  shift
fi
if [[ $table == *reduced* ]]; then
  prepare --dataset_name=cifar10 --source="$cifar10" --noise_fraction=0.4 --output_dir=data
elif [[ -n ${1:-} && ${1:-} != --* ]]; then
  for noise in 0.2 0.4 0.8; do
    prepare --dataset_name=cifar100 --source="$1" --noise_fraction=$noise --output_dir=data/full
  done
  left_out=("${left_out[@]/cifar100/}")
  shift
fi

chosen=$(mktemp)
trap 'rm -f "$chosen"' EXIT
grep -v -F "$(printf '/%s/\n' "${left_out[@]}" | grep -v '^//$' || echo //)" $table > "$chosen"
echo "$(($(wc -l < "$chosen") - 1)) runs, one at a time on each device: about 12 minutes (those of 30 epochs an hour) and 3 GB each"
echo "on two CPU cores. A line is printed as each ends; the runs' train.log shows the time left."
python commands/launch.py --table="$chosen" "$@"
[[ " $* " == *" --dry_run "* ]] || python commands/report.py cifar_models
