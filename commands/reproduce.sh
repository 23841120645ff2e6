#!/usr/bin/env bash
# From the archives of CIFAR-10 and CIFAR-100 to the table of runs and the report.
#   bash commands/reproduce.sh CIFAR10 [CIFAR10N.npz] [CIFAR100] [flags of launch.py]
#   bash commands/reproduce.sh --reduced CIFAR10 [CIFAR10N.npz] [flags of launch.py]
# Archives are official ones or their unpacked folders; without the human labels or CIFAR-100, their
# runs are skipped. All 50,000 images with airbench93; with --reduced 10,000 of CIFAR-10 with resnet8
# for long enough to memorise. Finished steps are skipped: a second call resumes where the first stopped.
# With --dry_run the runs' commands are printed, and nothing is prepared or trained. NOISE_SEED=1 draws other wrong
# labels and trusted samples (with --reduced also other images), in folders of their own (data_1,
# cifar_models_1); human labels stay.
set -euo pipefail
cd "$(dirname "$0")/.."
source commands/environment.sh

noise_seed=${NOISE_SEED:-0} suffix=''
[[ $noise_seed == 0 ]] || suffix=_$noise_seed
data=data$suffix models=cifar_models$suffix
table=commands/fast_runs.csv options=(--num_trusted=5000 --output_dir="$data/full")
if [[ ${1:-} == --reduced ]]; then
  table=commands/reduced_runs.csv options=(--num_train=10000 --num_trusted=1000 --output_dir="$data/reduced")
  shift
fi
cifar10=${1:-}
if [[ -z $cifar10 || $cifar10 == -* ]]; then
  echo "usage: reproduce.sh CIFAR10 [CIFAR10N.npz] [CIFAR100] [FLAGS], or --reduced CIFAR10 [CIFAR10N.npz] [FLAGS]" >&2
  exit 2
fi
shift
human='' cifar100='' left_out=(-e /nothing/)
if [[ ${1:-} == *.npz ]]; then
  human=$1
  shift
else
  left_out+=(-e /worse_label/ -e /aggre_label/)
fi
if [[ $table == *fast* && -n ${1:-} && $1 != -* ]]; then
  cifar100=$1
  shift
else
  left_out+=(-e /cifar100/)
fi

is_dry_run=false
for flag in "$@"; do  # absl takes one dash as well as two.
  if [[ $flag =~ ^--?(table|data_dir|runs_dir)(=|$) ]]; then
    echo "error: $flag cannot be given: the folders are $data and $models." >&2
    exit 2
  elif [[ $flag =~ ^--?dry_run(=true)?$ ]]; then
    is_dry_run=true
  elif [[ $flag =~ ^--?(no)?dry_run ]]; then
    echo "error: $flag must be --dry_run." >&2
    exit 2
  fi
done

chosen=$(mktemp)
trap 'rm -f "$chosen"' EXIT
grep -v -F "${left_out[@]}" $table > "$chosen"
launch() {
  python commands/launch.py --table="$chosen" --data_dir="$data" --runs_dir="$models" "$@"
}
if [[ $is_dry_run == true ]]; then
  launch "$@"
  exit
fi
planned=$(launch --dry_run "$@")
read -r runs steps <<< "$(awk -F 'max_number_of_steps=' \
  'NF > 1 { runs += 1; steps += $2 } END { print runs, steps }' <<< "$planned")"
range() {  # range FAST SLOW: "A to B" hours, at so many steps per hour.
  awk -v steps="$steps" 'function hours(n) { return sprintf(n < 10 ? "%.1f" : "%d", n) }
    { print hours(steps / $1) " to " hours(steps / $2) }' <<< "$*"
}
hours="$(range 45000 12500) hours on two CPU cores"
if [[ $table == *fast* ]]; then  # As measured, quiet and beside other work: see README.md.
  hours="$(range 5000 850) hours on two CPU cores with bfloat16 instructions, else
$(range 1150 450), and 3.5 GB of memory"
fi
echo "$runs runs, $steps steps in total (finished runs are skipped): $hours."

prepare() {  # prepare FOLDER [FLAGS]: the data in this folder, if a run needs them.
  grep -q "/$1 " <<< "$planned" || return 0
  python code/cifar_prepare_data.py --seed="$noise_seed" --dataset_name="${1%/*}" "${@:2}"
}
for noise in 0 0.2 0.4 0.8; do
  prepare cifar10/$noise --source="$cifar10" --noise_fraction=$noise "${options[@]}"
done
for key in worse_label aggre_label; do
  prepare cifar10/$key --source="$cifar10" --noise_type=file --noise_file="$human" \
    --noise_key=$key "${options[@]}"
done
for noise in 0.2 0.4 0.8; do
  prepare cifar100/$noise --source="$cifar100" --noise_fraction=$noise --output_dir="$data/full"
done
prepare cifar10/asymmetric_0.4 --source="$cifar10" --noise_type=asymmetric --noise_fraction=0.4 \
  "${options[@]}"

status=0
launch "$@" || status=$?
python commands/report.py "$models"
exit $status
