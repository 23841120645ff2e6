"""Random command lines: each ends in a clean error or a correct run.

TensorFlow is loaded once, by a process that forks for every command line.
"""

import functools
import random
import re

import numpy as np
import pytest
from helpers import MENTORNET, ROOT, WarmServer, run, times

LINES = times(quick=40, full=500)
SECONDS, BYTES = 120, 3e9
VALUES = (
    ["0", "1", "2", "7", "0.5", "0.25"] * 3
    + ["", " ", "-1", "1.5", "-0.5", "1e400", "-inf", "nan", "1e-9"]
    + ["None", "true", "maybe", "9223372036854775808", "2147483648", "é", "\N{SNOWMAN}", "a" * 5000]
    + ["/", "/nonexistent/x", "/dev/null", ".", "..", "0.5,100", "0.5,17", "1,2,3", ",", "50,25"]
    + ["%s%n", "$(reboot)", "--", "os:system", "resnet8", "inception", "digits", "cifar10"]
)


TRAIN, REPORT = "code/cifar_train_baseline.py", "code/label_report.py"
GENERATE = "mentornet_learning/data_generator.py"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    modules = ("training.loop", "evaluation.job", "datasets.prepare")
    server = WarmServer(*(f"mentornet.{name}" for name in modules))
    yield functools.partial(server.run, folder=tmp_path_factory.mktemp("here"))
    server.close()


def good_flags(digits, made, folder):
    """Command lines that work, to which random flags are added: script -> (first, last).

    `made` holds what some scripts need of others.
    """
    data = ["--dataset_name=digits", f"--data_dir={digits / '0.4'}"]
    student = "--studentnet=helpers:small_network"
    steps = [student, "--batch_size=4", "--max_number_of_steps=2"]
    train = [*data, *steps, f"--train_log_dir={folder / 't'}"]
    mentored = [*train, f"--trained_mentornet_dir={MENTORNET}"]
    run, short = made / "t", ["--stop_after_step=1"]
    return {
        TRAIN: ([*train, "--record_sample_weights"], short),
        "code/cifar_train_mentornet.py": (mentored, short),
        "code/cifar_train_mentormix.py": (mentored, short),
        "code/cifar_eval.py": (
            [f"--checkpoint_dir={run}", f"--eval_dir={folder / 'e'}"]
            + [f"--data_dir={digits / 'val'}"],
            ["--run_once"],
        ),
        REPORT: ([str(run), f"--output_dir={folder / 'r'}"], []),
        "code/export.py": (
            [f"--checkpoint_dir={run}", f"--output={folder / 'student.keras'}"],
            ["--format=keras"],
        ),
        "code/cifar_prepare_data.py": (
            ["--dataset_name=digits", f"--output_dir={folder / 'd'}", "--num_train=20"],
            [],
        ),
        "code/prepare_data.py": (
            [f"--records={digits / '0.4'}", f"--corrections={made / 'r' / 'labels.csv'}"]
            + [f"--output_dir={folder / 'd'}", "--accept_above=0.5"],
            [],
        ),
        "code/mentornet/__main__.py": (
            ["clean", str(made / "own.npz"), f"--output_dir={folder / 'o'}", student],
            ["--num_epochs=1"],
        ),
        GENERATE: (
            ["--vstar_fn=self_paced", f"--outdir={folder / 'c'}"],
            ["--sample_size=100"],
        ),
        "mentornet_learning/train.py": (
            [f"--data_path={made / 'c'}", f"--train_dir={folder / 'm'}"],
            ["--max_step_train=2"],
        ),
        "mentornet_learning/learn_curriculum.py": (
            [*data, f"--eval_data_dir={digits / 'val'}", f"--train_log_dir={folder / 'l'}"],
            [student, "--batch_size=20", "--max_number_of_steps=4", "--burn_in_epoch=50"],
        ),
    }


def flag_names(script):
    command = ["clean"] if script.endswith("__main__.py") else []
    _, output = run(script, *command, "--help")
    names = re.findall(r"^  --(?:\[no\])?([a-z_0-9]+)", output, re.MULTILINE)
    assert len(names) >= 4
    # These are places that the user chooses, not faults to find.
    writes = {"output_dir", "outdir", "train_log_dir", "eval_dir", "train_dir", "overwrite"}
    writes |= {"output", "label_studio_dir"}
    return sorted(set(names) - writes)


def test_random_command_lines(server, digits, tmp_path):
    choice = random.Random(0)
    scripts = good_flags(digits, tmp_path, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(60) % 3)
    for script in (TRAIN, GENERATE, REPORT):
        status, _, output = server(ROOT / script, *sum(scripts[script], []))
        assert status == 0, output
    names = {script: flag_names(script) for script in scripts}
    seen: dict[int, int] = {}
    for number in range(LINES):
        script = choice.choice(sorted(scripts))
        first, last = good_flags(digits, tmp_path, tmp_path / str(number))[script]
        extra = []
        for _ in range(choice.randint(1, 2)):
            name, value = choice.choice(names[script]), choice.choice(VALUES)
            extra.append(choice.choice([f"--{name}={value}", f"--{name}={value}", f"--no{name}"]))
        if choice.random() < 0.05:
            extra.append(choice.choice(VALUES))
        kept = [flag for flag in first if choice.random() < 0.98]
        flags = [*kept, *extra, *last]
        status, memory, output = server(ROOT / script, *flags, seconds=SECONDS)
        what = f"{script} {' '.join(flags)}\n{output[-3000:]}"
        assert "Traceback" not in output, what
        assert status in (0, 2), f"status {status}: {what}"
        assert memory < BYTES, f"{memory} bytes: {what}"
        if status == 2:
            assert re.search(r"^error: .", output, re.MULTILINE), what
        seen[status] = seen.get(status, 0) + 1
    print(f"{LINES} command lines by exit status: {seen}")
    assert min(seen.get(0, 0), seen.get(2, 0)) >= LINES // 20
