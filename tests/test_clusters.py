"""The commands that the SLURM and Kubernetes files start, with the schedulers replaced."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from helpers import ROOT

yaml = pytest.importorskip("yaml")  # Comes with mkdocs.

# Stands for the interpreter: notes how the training would start, and saves on SIGTERM if told to.
PYTHON = """#!/usr/bin/env bash
echo "$TF_CONFIG" | tr -d '\\n' > "$LOG/tf_config.$SLURM_PROCID$JOB_COMPLETION_INDEX"
printf '%s\\n' "$@" > "$LOG/arguments"
[ -z "$UNTIL_SIGTERM" ] || {
  trap 'touch "$LOG/saved.$SLURM_PROCID$JOB_COMPLETION_INDEX"; exit 0' TERM
  touch "$LOG/ready.$SLURM_PROCID$JOB_COMPLETION_INDEX"
  while true; do sleep 0.05; done
}
[ -z "$FINISHES" ] || touch "$FINISHES"
exit "${STATUS:-0}"
"""
# One task per node, in parallel; forwards SIGTERM like SLURM's.
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do echo "$1" >> "$LOG/srun"; shift; done
for i in 0 1 2; do SLURM_PROCID=$i "$@" & pids+=($!); done
trap 'kill -TERM "${pids[@]}"' TERM
status=0
for pid in "${pids[@]}"; do
  wait "$pid"; s=$?
  while kill -0 "$pid" 2>/dev/null; do wait "$pid"; s=$?; done
  [ $s -eq 0 ] || status=$s
done
exit $status
"""
SCONTROL = """#!/usr/bin/env bash
echo "$@" >> "$LOG/scontrol"
[ "$1" != show ] || printf '%s\\n' node3 node7 node12
"""


@pytest.fixture
def sandbox(tmp_path):
    """A folder like the repository's top, whose commands are the fakes above; its environment."""
    (tmp_path / "commands").mkdir()
    shutil.copy(ROOT / "commands" / "train_multi_worker.sh", tmp_path / "commands")
    (tmp_path / "commands" / "environment.sh").write_text("")
    log, programs = tmp_path / "log", tmp_path / "bin"
    log.mkdir()
    programs.mkdir()
    for name, text in (("python", PYTHON), ("srun", SRUN), ("scontrol", SCONTROL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    alien = ("SLURM_", "JOB_COMPLETION_INDEX", "TF_CONFIG")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(alien)}
    environment |= {"PATH": f"{programs}:{environment['PATH']}", "LOG": str(log)}
    return tmp_path, log, environment


def wait_for(*paths):
    deadline = time.monotonic() + 30
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, paths
        time.sleep(0.02)


def start_slurm(sandbox, **environment):
    folder, _, base = sandbox
    job = {"SLURM_JOB_ID": "1234567", "SLURM_JOB_NODELIST": "node[3,7,12]"}
    base = base | job | {"SLURM_SUBMIT_DIR": str(folder)} | environment
    copy = folder / "spooled"  # SLURM runs a copy, elsewhere.
    shutil.copy(ROOT / "commands" / "slurm_train.sh", copy)
    command = ["bash", str(copy), "--data_dir=a b", "--train_log_dir=$x"]
    return subprocess.Popen(command, cwd="/", env=base)


def workers_of(log, number):
    config = json.loads((log / f"tf_config.{number}").read_text())
    assert config["task"] == {"type": "worker", "index": number}
    return config["cluster"]["worker"]


def test_slurm(sandbox):
    """One worker per node, in the order of the nodes; flags are passed on unchanged."""
    job = start_slurm(sandbox)
    assert job.wait(60) == 0
    log = sandbox[1]
    for number in range(3):  # 20000 + 1234567 % 10000
        assert workers_of(log, number) == ["node3:24567", "node7:24567", "node12:24567"]
    arguments = (log / "arguments").read_text().splitlines()
    assert arguments[-2:] == ["--data_dir=a b", "--train_log_dir=$x"]
    assert (log / "scontrol").read_text() == "show hostnames node[3,7,12]\n"
    assert "--ntasks-per-node=1" in (log / "srun").read_text()


def test_slurm_time_limit(sandbox):
    """SIGUSR1 to the batch shell: every task saves, then the job is requeued.

    SIGTERM, which scancel sends, ends it.
    """
    log = sandbox[1]
    for number, is_requeued in ((signal.SIGUSR1, True), (signal.SIGTERM, False)):
        shutil.rmtree(log)
        log.mkdir()
        job = start_slurm(sandbox, UNTIL_SIGTERM="1")
        wait_for(*(log / f"ready.{i}" for i in range(3)))
        job.send_signal(number)
        assert job.wait(60) == 0
        assert all((log / f"saved.{i}").exists() for i in range(3))
        assert (log / "scontrol").read_text().endswith("requeue 1234567\n") == is_requeued


def test_slurm_requeued(sandbox):
    """A job whose training has begun resumes, although it overwrote an earlier run at first."""
    assert start_slurm(sandbox).wait(60) == 0
    (sandbox[0] / "$x" / "config.json").write_text("{}")
    assert start_slurm(sandbox, SLURM_RESTART_COUNT="1").wait(60) == 0
    assert (sandbox[1] / "arguments").read_text().splitlines()[-1] == "--nooverwrite"


@pytest.mark.parametrize("has_started", [True, False])
def test_slurm_requeued_before_it_began(sandbox, has_started):
    """The run in the folder is an earlier one, which --overwrite is still to delete."""
    config = sandbox[0] / "$x" / "config.json"
    config.parent.mkdir()
    config.write_text("{}")
    if has_started:  # But the training was not reached.
        assert start_slurm(sandbox).wait(60) == 0
    assert start_slurm(sandbox, SLURM_RESTART_COUNT="1").wait(60) == 0
    assert (sandbox[1] / "arguments").read_text().splitlines()[-1] == "--train_log_dir=$x"


def test_slurm_failure(sandbox):
    """It is reported, and the job is not requeued."""
    job = start_slurm(sandbox, STATUS="2")
    assert job.wait(60) == 2
    assert "requeue" not in (sandbox[1] / "scontrol").read_text()


def test_slurm_options():
    text = (ROOT / "commands" / "slurm_train.sh").read_text()
    options = {line.split()[1] for line in text.splitlines() if line.startswith("#SBATCH")}
    assert {"--requeue", "--ntasks-per-node=1", "--signal=B:USR1@120"} <= options


def kubernetes():
    documents = yaml.safe_load_all((ROOT / "docs" / "kubernetes.yaml").read_text())
    return {(d["kind"], d["metadata"]["name"]): d for d in documents}


def test_kubernetes_fields():
    """Settings that must agree for the pods to find each other, and to be restarted."""
    found = kubernetes()
    service, job = found["Service", "mentornet"]["spec"], found["Job", "mentornet"]["spec"]
    pod = job["template"]["spec"]
    container = pod["containers"][0]
    assert service["clusterIP"] == "None"
    assert service["selector"] == {"batch.kubernetes.io/job-name": "mentornet"}
    assert pod["subdomain"] == "mentornet" and pod["restartPolicy"] == "OnFailure"
    assert job["completionMode"] == "Indexed" and job["completions"] == job["parallelism"]
    values = {variable["name"]: variable["value"] for variable in container["env"]}
    assert values["WORKERS"] == str(job["completions"])
    claims = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == claims
    evaluation = found["Job", "mentornet-eval"]["spec"]["template"]["spec"]["containers"][0]
    assert f"--checkpoint_dir={values['RUN']}" in evaluation["args"]


def start_pod(sandbox, index, **environment):
    folder, _, base = sandbox
    (container,) = kubernetes()["Job", "mentornet"]["spec"]["template"]["spec"]["containers"]
    values = {variable["name"]: variable["value"] for variable in container["env"]}
    run = folder / "run"
    run.mkdir(exist_ok=True)
    values |= {"RUN": str(run), "JOB_COMPLETION_INDEX": str(index), **environment}
    command = [*container["command"], *container["args"]]
    return subprocess.Popen(command, cwd=folder, env=base | values)


def test_kubernetes_pods(sandbox):
    """Each pod's TF_CONFIG; success only once the last checkpoint is there."""
    log, last = sandbox[1], sandbox[0] / "run" / "model.ckpt-39000.index"
    assert start_pod(sandbox, 0).wait(60) != 0  # Ended with status 0, but before the last step.
    assert start_pod(sandbox, 1, FINISHES=str(last)).wait(60) == 0
    for number in range(2):
        names = [f"mentornet-{i}.mentornet:2222" for i in range(2)]
        assert workers_of(log, number) == names
    assert "--max_number_of_steps=39000" in (log / "arguments").read_text()
    (log / "arguments").unlink()
    assert start_pod(sandbox, 0).wait(60) == 0  # Finished already: nothing is started.
    assert not (log / "arguments").exists()


def test_kubernetes_sigterm(sandbox):
    """A drained pod saves, and does not count as completed."""
    pod = start_pod(sandbox, 1, UNTIL_SIGTERM="1")
    wait_for(sandbox[1] / "ready.1")
    pod.send_signal(signal.SIGTERM)
    assert pod.wait(60) != 0
    assert (sandbox[1] / "saved.1").exists()
