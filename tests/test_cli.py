"""Every published command line runs unchanged; a wrong one ends with one line and status 2."""

import gc
import json
import os
import re
import subprocess
import sys

import pytest
from absl import flags
from helpers import MENTORNET, ROOT, warm_server
from helpers import run as run_warm
from helpers import run_anew as run

from mentornet.cli import script as start_up
from mentornet.cli import training_flags
from mentornet.cli.script import load_tensorflow
from mentornet.core.errors import InputError, WorkerLostError

SCRIPTS = [
    "code/cifar_train_mentornet.py",
    "code/cifar_train_baseline.py",
    "code/cifar_eval.py",
    "code/cifar_prepare_data.py",
    "mentornet_learning/data_generator.py",
    "mentornet_learning/train.py",
    "mentornet_learning/visualizer.py",
    "mentornet_learning/learn_curriculum.py",
    "code/cifar_train_mentormix.py",
    "code/prepare_data.py",
    "code/export.py",
]


# Flags that users' commands may contain: none may be removed.
TRAINING = (
    "augment batch_norm_decay batch_size cluster_timeout_secs crop_mode crop_padding cutout "
    "data_dir dataset_name deterministic device_id ema_decay flip jit_compile keep_best "
    "label_smoothing learning_rate learning_rate_boundaries learning_rate_decay_factor "
    "learning_rate_shape log_every_steps lookahead_steps master max_number_of_steps max_to_keep "
    "mixed_precision mixup_alpha momentum nesterov num_devices num_epochs_per_decay overwrite "
    "ps_tasks recompute_gradients record_sample_weights save_interval_secs save_interval_steps "
    "save_summaries_secs seed shift_rate_factor steps_per_loop stop_after_step studentnet "
    "sync_batch_norm task train_log_dir weight_decay"
)
WEIGHTING = (
    "burn_in_epoch class_balanced example_dropout_rates fixed_epoch_after_burn_in "
    "loss_moving_average_decay loss_p_percentile loss_p_precentile mentornet_update_epochs"
)
OTHER = "weighting weighting_options second_reweight"
MENTORED = f"{TRAINING} {WEIGHTING} {OTHER} mentornet_label trained_mentornet_dir"
PREPARE = (
    "accept_above corrections dataset_name image_size label_column noise_file noise_fraction "
    "noise_key noise_type num_train num_trusted output_dir records seed skip_bad source test_share"
)
PUBLISHED = {
    "code/cifar_train_mentornet.py": MENTORED,
    "code/cifar_train_mentormix.py": MENTORED,
    "code/cifar_train_baseline.py": f"{TRAINING} {OTHER}",
    "code/cifar_eval.py": (
        "batch_size checkpoint_dir data_dir dataset_name device_id dump_features dump_num_samples "
        "dump_seed eval_dir eval_interval_secs master output_csv_file run_once split_name "
        "studentnet test_time_augmentation timeout_secs"
    ),
    "code/cifar_prepare_data.py": PREPARE,
    "code/prepare_data.py": PREPARE,
    "code/export.py": "checkpoint_dir data_dir dataset_name format output studentnet",
    "mentornet_learning/data_generator.py": (
        "fixed_epoch input_csv_filename outdir sample_size seed vstar_fn vstar_gamma"
    ),
    "mentornet_learning/train.py": (
        "checkpoint_name data_path learning_rate max_step_train mini_batch_size seed train_dir"
    ),
    "mentornet_learning/visualizer.py": (
        "epoch_ranges further_features loss_bound model_dir outdir vstar_fn vstar_gamma"
    ),
    "mentornet_learning/learn_curriculum.py": (
        f"{TRAINING} {WEIGHTING} dump_epochs dump_num_samples eval_data_dir mentornet_features"
    ),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_lists_the_flags(script, tmp_path, monkeypatch):
    """Without TensorFlow, whose import takes seconds."""
    (tmp_path / "tensorflow.py").write_text("raise RuntimeError")
    paths = (str(tmp_path), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    status, output = run(script, "--help")
    assert status == 0
    assert "Traceback" not in output
    texts = dict(re.findall(r"^  --(?:\[no\])?(\w+):(.*)$", output, re.MULTILINE))
    assert set(PUBLISHED[script].split()) <= texts.keys()
    assert all(texts.values())  # Each has a text.


def test_help_shows_the_defaults_of_the_script():
    """MentorMix has the mentored script's flags with different defaults."""
    shown = {}
    for name in ("mentornet", "mentormix"):
        _, output = run(f"code/cifar_train_{name}.py", "--help")
        blocks = re.split(r"^  --(?:\[no\])?(?=\w+:)", output, flags=re.MULTILINE)
        defaults = ((b.partition(":")[0], re.search(r"\(default: '(.*)'\)", b)) for b in blocks)
        shown[name] = {flag: found[1] for flag, found in defaults if found}
    assert shown["mentornet"]["example_dropout_rates"] == "0.5, 17, 0.05, 78, 1.0, 5"
    assert shown["mentornet"]["learning_rate_boundaries"] == ""
    own = {flag: v for flag, v in shown["mentormix"].items() if shown["mentornet"].get(flag) != v}
    assert own == {
        "dataset_name": "cifar100",
        "studentnet": "resnet32",
        "learning_rate_decay_factor": "0.9",
        "num_epochs_per_decay": "3.0",
        "max_number_of_steps": "100000",
        "example_dropout_rates": "0.0,100",
        "mixup_alpha": "8.0",
        "second_reweight": "true",
        "ema_decay": "0.9999",
    }


def test_flags_and_defaults_of_the_release():
    from mentornet.config.training import TrainConfig
    from mentornet.config.weighting import WeightingConfig
    from mentornet.datasets.augmentation import Augmentation
    from mentornet.training import recipe

    for student, padding in (("resnet101", 2), ("inception", 8)):
        config = TrainConfig("d", "t", studentnet=student)
        config = recipe.resolve(config, recipe.defaults(config, augment=True))
        assert (config.batch_size, config.learning_rate) == (128, 0.1)
        assert config.learning_rate_decay_factor == 0.1
        assert recipe.augmentation(config) == Augmentation(padding)
    assert config.max_number_of_steps == 39000
    assert (config.save_summaries_secs, config.save_interval_secs) == (120, 1200)
    weighting = WeightingConfig()
    assert (weighting.loss_p_percentile, weighting.loss_moving_average_decay) == (0.7, 0.5)
    assert weighting.example_dropout_rates == "0.5, 17, 0.05, 78, 1.0, 5"
    for script, names in (
        (SCRIPTS[0], "master ps_tasks task device_id dataset_name studentnet"),
        (SCRIPTS[2], "batch_size split_name output_csv_file eval_interval_secs device_id master"),
        (SCRIPTS[4], "outdir vstar_fn vstar_gamma sample_size input_csv_filename"),
        (SCRIPTS[5], "train_dir data_path mini_batch_size max_step_train learning_rate"),
    ):
        _, output = run(script, "--help")
        for name in names.split():
            assert f"--{name}:" in output


def test_the_published_command(tmp_path):
    """inception's, with fewer steps, a small batch and small images; otherwise as published.

    tests/test_published_learning.py runs that of resnet101.
    """
    from mentornet.datasets.prepare import PrepareConfig, prepare

    prepare(PrepareConfig("digits", str(tmp_path), noise_fraction=0.4, num_train=20))
    status, output = run_warm(
        SCRIPTS[0],
        "--dataset_name=digits",
        "--trained_mentornet_dir=mentornet_models/models/mentornet_pd1_g_1/mentornet_pd",
        "--loss_p_precentile=0.75",
        "--nofixed_epoch_after_burn_in",
        "--burn_in_epoch=0",
        "--example_dropout_rates=0.5,17,0.05,83",
        f"--data_dir={tmp_path}/digits/0.4",
        f"--train_log_dir={tmp_path}/train",
        "--studentnet=inception",
        "--device_id=0",
        "--num_epochs_per_decay=200",
        "--learning_rate_decay_factor=0.1",
        "--max_number_of_steps=1",
        "--batch_size=2",
    )
    assert status == 0, output
    warning = (
        "WARNING: --loss_p_precentile=0.75 is taken as loss_p_percentile; the 2018 release ignored "
        "the misspelt flag and used 0.7."
    )
    assert output.count(warning) == 1
    assert (tmp_path / "train" / "model.ckpt-1.index").exists()
    saved = json.loads((tmp_path / "train" / "config.json").read_text())
    assert saved["weighting"]["loss_p_percentile"] == 0.75


GOOD = [f"--trained_mentornet_dir={MENTORNET}", "--data_dir=d", "--train_log_dir=t"]


@pytest.mark.parametrize(
    ("script", "flags", "part"),
    [
        (SCRIPTS[0], ["--loss_p_percentil=0.5"], "Unknown command line flag 'loss_p_percentil'"),
        (SCRIPTS[0], ["--batch_size=many"], "flag --batch_size=many"),
        (SCRIPTS[0], [*GOOD, "stray"], "Unexpected argument: stray"),
        ("code/label_report.py", [], "Missing argument: RUN_DIR..."),
        ("code/mentornet/__main__.py", ["clean", "--output_dir=o"], "Missing argument: SOURCE"),
        ("code/mentornet/__main__.py", ["clean", "a", "b"], "Unexpected argument: b"),
        (SCRIPTS[0], [*GOOD, "--ps_tasks=1"], "use TF_CONFIG"),
        (SCRIPTS[0], [*GOOD, "--task=1"], "use TF_CONFIG"),
        (SCRIPTS[0], [*GOOD, "--master=grpc://x"], "use TF_CONFIG"),
        (SCRIPTS[0], [*GOOD, "--loss_p_percentile=1.5"], "must lie in 0..1"),
        (SCRIPTS[0], [*GOOD, "--burn_in_epoch=101"], "must lie in 0..100"),
        (SCRIPTS[0], [*GOOD, "--example_dropout_rates=0.5,99"], "must sum to 100, not 99"),
        (SCRIPTS[0], [*GOOD, "--example_dropout_rates=2,100"], "must lie in 0..1"),
        (SCRIPTS[0], [*GOOD, "--learning_rate_boundaries=a"], "must be whole numbers"),
        (SCRIPTS[0], [*GOOD, "--loss_p_percentile=1", "--loss_p_precentile=1"], "not both"),
        (SCRIPTS[0], GOOD[1:], "`trained_mentornet_dir` must name"),
        (SCRIPTS[0], GOOD[:2], "`train_log_dir` must name"),
        (SCRIPTS[0], GOOD, "`data_dir` must be an existing folder"),
        (SCRIPTS[1], ["--batch_size=0"], "must name a folder"),
        (SCRIPTS[1], [*GOOD[1:], "--batch_size=0"], "`batch_size` must be at least 1"),
        (SCRIPTS[2], ["--data_dir=d"], "`checkpoint_dir` must name a folder"),
        (SCRIPTS[2], [*GOOD[1:2], "--dump_seed=1"], "--dump_seed needs --output_csv_file"),
        (SCRIPTS[2], ["--dump_seed=0"], "--dump_seed needs --output_csv_file"),
        (SCRIPTS[2], ["--dump_num_samples=5"], "--dump_num_samples needs --output_csv_file"),
        (SCRIPTS[2], ["--dump_features="], "--dump_features needs --output_csv_file"),
        (SCRIPTS[2], ["--output_csv_file="], "`checkpoint_dir` must name a folder"),
        (SCRIPTS[2], ["--output_csv_file=c"], "`checkpoint_dir` must name a folder"),
        (SCRIPTS[2], ["--output_csv_file=c", "--checkpoint_dir=d"], "`data_dir` must name a"),
        (SCRIPTS[2], ["--output_csv_file=c", "--dump_seed=-1"], "`dump_seed` must not be"),
        (SCRIPTS[2], ["--output_csv_file=c", "--test_time_augmentation"], "has no effect on"),
        (SCRIPTS[3], ["--dataset_name=mnist"], "cifar10, cifar100, digits"),
        (SCRIPTS[3], ["--noise_fraction=40"], "`noise_fraction` must lie in 0..1"),
        (SCRIPTS[3], ["--noise_type=file"], "`noise_file` must be given if and only if"),
        (SCRIPTS[3], ["--dataset_name=cifar10"], "`source` must name the archive"),
        (SCRIPTS[4], ["--outdir=o", "--vstar_fn=own"], "`vstar_fn` must be one of"),
        (SCRIPTS[5], ["--train_dir=t"], "`data_path` must name a folder"),
        (SCRIPTS[5], ["--train_dir=t", "--data_path=none"], "none/tr.npz cannot be read"),
    ],
)
def test_bad_command_lines_end_in_one_line(script, flags, part):
    status, output = run(script, *flags)
    assert status == 2, output
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert part in errors[0]
    assert "Traceback" not in output
    assert not (ROOT / "t").exists()


def test_a_file_of_flags_that_is_not_utf8(tmp_path):
    (tmp_path / "flags").write_bytes(b"--output=\xe9\n")
    status, output = run("code/export.py", f"--flagfile={tmp_path / 'flags'}")
    assert status == 2, output
    assert output.startswith("error: ") and len(output.splitlines()) == 2


@pytest.mark.parametrize("level,quiet", [(None, True), ("3", True), ("0", False)])
def test_noise_of_tensorflows_start(level, quiet, tmp_path):
    """They are hidden, also if the user's environment hides them; 0 shows them."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    flags = ["--model_dir=mentornet_pd", "--epoch_ranges=7", f"--outdir={tmp_path}"]
    command = [sys.executable, str(ROOT / "mentornet_learning/visualizer.py"), *flags]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (result.stderr == "") == quiet


@pytest.mark.parametrize(
    ("arguments", "variable", "expected"),
    [
        ([], None, "0"),
        ([], "2,3", "2,3"),
        ([], "", ""),
        (["--device_id=1"], "2,3", "1"),
        (["--device_id=0"], "2,3", "0"),
        (["--num_devices=3"], None, "0,1,2"),
        (["--num_devices=2"], "2,3", "2,3"),
        (["--num_devices=2", "--device_id=4,5"], "2,3", "4,5"),
    ],
)
def test_the_gpus(monkeypatch, arguments, variable, expected):
    """Those of --device_id, else of a variable that the user or a scheduler set."""
    values = flags.FlagValues()
    training_flags.define_training_flags(values)
    values(["script", *arguments])
    monkeypatch.setattr(start_up, "FLAGS", values)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable or "")
    if variable is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert start_up._gpus() == expected


@pytest.mark.parametrize(
    ("machine", "asked", "found"),
    [("x86_64", None, "1"), ("x86_64", "0", "0"), ("aarch64", None, None)],
)
def test_onednn_is_used_unless_asked_not_to(monkeypatch, machine, asked, found):
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", asked or "")
    if asked is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    load_tensorflow("-1")
    assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == found


def test_garbage_is_collected_after_the_start(monkeypatch):
    """But for what was imported, which would only cost time."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    gc.unfreeze()
    load_tensorflow("-1")
    assert gc.isenabled()
    assert gc.get_freeze_count() > 100_000


def test_an_interrupted_program():
    code = "from mentornet.cli import script\ndef main():\n    raise KeyboardInterrupt\n"
    status, _, output = warm_server().run("-c", f"{code}script.run(main)")
    assert (status, output) == (130, "Interrupted.\n")


def test_programs_without_the_flag_take_no_gpu(monkeypatch):
    monkeypatch.setattr(start_up, "FLAGS", flags.FlagValues())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    load_tensorflow()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"


@pytest.mark.parametrize(("has_opened", "added"), [(True, ["--nooverwrite"]), (False, [])])
def test_a_restart_does_not_overwrite_what_it_has_opened(monkeypatch, has_opened, added):
    """Before that, the run in the folder is an earlier one, which is still to be deleted."""
    values, started = flags.FlagValues(), []
    training_flags.define_training_flags(values)
    command = [sys.executable, "train.py", "--overwrite"]
    monkeypatch.setattr(sys, "orig_argv", command)
    monkeypatch.setattr(os, "execv", lambda *arguments: started.append(arguments))
    for known in (values, flags.FlagValues()):  # The second program has no such flag.
        monkeypatch.setattr(start_up, "FLAGS", known)
        start_up._start_anew(WorkerLostError("gone", has_opened))
    assert started == [
        (sys.executable, [*command, *added]),
        (sys.executable, command),
    ]


@pytest.mark.parametrize("error", [InputError("one\n  two"), OSError("one\ttwo\n")])
def test_an_error_of_several_lines_is_told_in_one(monkeypatch, capsys, error):
    def main():
        raise error

    monkeypatch.setattr(start_up.app, "run", lambda guarded, flags_parser: guarded(["script"]))
    with pytest.raises(SystemExit) as ended:
        start_up.run(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: one two\n"


@pytest.mark.parametrize("asked", [None, "false"])
def test_processes_can_share_a_gpu(monkeypatch, asked):
    variable = "TF_FORCE_GPU_ALLOW_GROWTH"
    for name in ("CUDA_VISIBLE_DEVICES", "TF_ENABLE_ONEDNN_OPTS"):
        monkeypatch.setenv(name, os.environ.get(name, "-1"))  # Restored afterwards.
    monkeypatch.setenv(variable, asked or "")
    if asked is None:
        monkeypatch.delenv(variable)
    load_tensorflow("-1")
    assert os.environ.pop(variable) == (asked or "true")
