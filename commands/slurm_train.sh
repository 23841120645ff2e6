#!/usr/bin/env bash
# Trains on the nodes of a SLURM job, one task per node. From the top of the repository, with the
# virtual environment active:
#   sbatch --nodes=2 --gpus-per-node=4 --time=24:00:00 commands/slurm_train.sh --num_devices=4 \
#     --data_dir=... --train_log_dir=... [FLAG ...]
# The flags are those of cifar_train_mentornet.py; train_log_dir must be visible to all nodes.
# Two minutes before its time limit the job saves and requeues itself, and then resumes from that
# checkpoint, even with --overwrite, which is dropped once the job's training has begun. After a
# preemption or a failed node SLURM does the same. The evaluation is a separate job, see
# docs/scaling.md.
#SBATCH --job-name=mentornet
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?must be run by sbatch}"  # SLURM runs a copy of this file.
source commands/environment.sh

# Jobs that share a node need different ports; Linux assigns other ports from 32768 on.
port=$((20000 + SLURM_JOB_ID % 10000))
workers=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/$/:$port/" | paste -sd, -)

# --overwrite is for the first training of a job; later it would delete what was saved. Training
# begins by writing config.json: one from before the job's first start is an earlier run's.
folder=
for flag in "$@"; do
  case $flag in --train_log_dir=* | -train_log_dir=*) folder=${flag#*=} ;; esac
done
has_begun=$((${SLURM_RESTART_COUNT:-0} > 0))
if [ -n "$folder" ]; then
  mkdir -p "$folder"
  start="$folder/.slurm_$SLURM_JOB_ID"
  [ -e "$start" ] || touch "$start"
  [ "$folder/config.json" -nt "$start" ] || has_begun=0
fi
[ "$has_begun" -eq 0 ] || set -- "$@" --nooverwrite

stopped=
srun --ntasks-per-node=1 --distribution=block --kill-on-bad-exit=1 bash -c \
  'exec bash commands/train_multi_worker.sh "$0" "$SLURM_PROCID" "$@"' "$workers" "$@" &
tasks=$!
# srun forwards SIGTERM to the tasks, which save and end. SIGUSR1 announces the time limit, after
# which the job is requeued; SIGTERM alone comes from scancel, after which it is not.
trap 'stopped=requeue; kill -TERM "$tasks"' USR1
trap ': "${stopped:=yes}"; kill -TERM "$tasks"' TERM
status=0
wait "$tasks" || status=$?
if [ -n "$stopped" ]; then  # Each signal interrupts a wait.
  while
    status=0
    wait "$tasks" || status=$?
    kill -0 "$tasks" 2> /dev/null
  do :; done
  [ "$stopped" != requeue ] || scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
