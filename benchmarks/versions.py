"""CPU time of a training step and of a start-up, of an earlier commit and of the working tree.

    python benchmarks/versions.py --commit=COMMIT --data_dir=RECORDS

Both run `cifar_train_mentornet.py` in turns, with one step and with several; the difference is the
steps. CPU time is measured since other work on the machine changes it less than the time that
passes; ratios are those of medians.
"""

from __future__ import annotations

import os
import pathlib
import resource
import subprocess
import sys
import tempfile

from absl import flags
from measuring import ROOT, median

from mentornet.cli import script
from mentornet.core import pages
from mentornet.core.errors import check

FLAGS = flags.FLAGS
flags.DEFINE_string("commit", "", "The earlier commit.")
flags.DEFINE_string("data_dir", "", "Training records of cifar10, which both versions can read.")
flags.DEFINE_string("studentnet", "inception", "The student.")
flags.DEFINE_integer("steps", 120, "Steps of the longer run.")
flags.DEFINE_integer("rounds", 3, "How often each version runs.")


def cpu_seconds(tree: pathlib.Path, steps: int, folder: pathlib.Path) -> float:
    """CPU time of a training of so many steps, by the code of a tree."""
    settings = {
        "dataset_name": "cifar10",
        "data_dir": pathlib.Path(FLAGS.data_dir).absolute(),
        "studentnet": FLAGS.studentnet,
        "trained_mentornet_dir": "mentornet_pd",
        "max_number_of_steps": steps,
        "train_log_dir": folder,
    }
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "code/cifar_train_mentornet.py", *arguments, "--overwrite"]
    environment = {**os.environ, "PYTHONPATH": str(tree / "code"), "CUDA_VISIBLE_DEVICES": "-1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(trees: dict[str, pathlib.Path], folder: pathlib.Path) -> list[list[str]]:
    """A line for a step and one for a start-up: seconds by tree, and the last one over the first's.

    Args:
      trees: name -> the tree; the earlier one first.
      folder: of the runs, which replace each other.
    """
    starts: dict[str, list[float]] = {name: [] for name in trees}
    steps: dict[str, list[float]] = {name: [] for name in trees}
    for number in range(FLAGS.rounds):
        for name in list(trees)[:: 1 if number % 2 else -1]:
            start = cpu_seconds(trees[name], 1, folder / name)
            whole = cpu_seconds(trees[name], FLAGS.steps, folder / name)
            starts[name].append(start)
            steps[name].append((whole - start) / (FLAGS.steps - 1))
            print(f"{name}: step {steps[name][-1]:.4f} s, start {start:.2f} s", flush=True)
    lines = []
    for what, seconds in (("step", steps), ("start-up, with one step", starts)):
        medians = [median(each) for each in seconds.values()]
        lines.append([what, *(f"{each:.4f}" for each in medians), f"{medians[1] / medians[0]:.3f}"])
    return lines


def main() -> None:
    check(FLAGS.steps >= 2, "`steps` must be at least 2.", steps=FLAGS.steps)
    check(FLAGS.rounds >= 1, "`rounds` must be at least 1.", rounds=FLAGS.rounds)
    for name in ("commit", "data_dir"):
        check(bool(FLAGS[name].value), f"`{name}` must be given.", **{name: FLAGS[name].value})
    with tempfile.TemporaryDirectory() as temporary:
        tree = pathlib.Path(temporary, "tree")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), FLAGS.commit], check=True)
        try:
            lines = measure({FLAGS.commit: tree, "now": ROOT}, pathlib.Path(temporary))
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    print(pages.markdown_table(("CPU seconds", FLAGS.commit, "now", "ratio"), lines))


if __name__ == "__main__":
    script.run(main)
