"""The training loop: its files, stopping, and resuming exactly."""

import dataclasses
import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from helpers import (
    MENTORED,
    MENTORNET,
    SCRIPT,
    assert_same_state,
    config,
    latest_state,
    run,
    start,
    wait_for_step,
)

from mentornet import InputError
from mentornet.config.evaluation import EvalConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.core import files
from mentornet.core.files import read_json_lines
from mentornet.datasets import records
from mentornet.datasets.catalog import dataset_info
from mentornet.evaluation import job
from mentornet.runs.statistics import prediction_statistics, weight_statistics
from mentornet.students.networks import resnet101
from mentornet.training import loop
from mentornet.training.build import make_trainer


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, train_flags):
    """A mentored run of 40 steps, in a separate process."""
    folder = tmp_path_factory.mktemp("undisturbed") / "train"
    status, output = run(SCRIPT, *train_flags(train_log_dir=folder, **MENTORED))
    assert status == 0, output
    return folder


def test_what_a_run_writes(undisturbed):
    rows = read_json_lines(undisturbed / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(5, 41, 5))
    assert {
        "mentornet/orig_loss",
        "mentornet/weighted_loss",
        "mentornet/total_loss",
        "learning_rate",
        "data_util/data_util",
        "data_util/batch_sum_v",
        "debug/percentile_loss",
        "debug/dropout_rate",
        "debug/epoch_step",
        "debug/loss_moving_percentile",
        "sample_weights/mean_clean",
        "sample_weights/mean_corrupted",
        "sample_weights/auc",
        "images_per_second",
    } <= rows[-1].keys()
    # Row 20 is about the step with index 19, at epoch floor(100 * 19 / 40).
    assert [row["debug/epoch_step"] for row in rows[:4]] == [10, 22, 35, 47]
    assert [row["debug/dropout_rate"] for row in rows[3:5]] == [0.5, 0]
    config = json.loads((undisturbed / "config.json").read_text())
    assert config["batch_size"] == 16
    assert config["num_examples"] == 200
    # The resolved values, not the defaults of the student (your own) and data set.
    assert (config["momentum"], config["weight_decay"], config["augment"]) == (0.9, 1e-4, False)
    schedule = config["learning_rate_schedule"]
    assert schedule == {"boundaries": [20, 30], "values": pytest.approx([0.1, 0.01, 0.001])}
    assert len(config["data_sha256"]) == len(config["mentornet_sha256"]) == 64
    events = [
        (event.step, value.tag)
        for file in undisturbed.glob("events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert {tag for _, tag in events} == rows[-1].keys() - {"step"}
    assert {step for step, _ in events} == {row["step"] for row in rows}


def test_signals_end_a_run_cleanly(undisturbed, train_flags, tmp_path):
    folder = tmp_path / "train"
    flags = train_flags(train_log_dir=folder, **MENTORED)
    for number in (signal.SIGTERM, signal.SIGINT):
        rows = read_json_lines(folder / "metrics.jsonl")
        process = start(SCRIPT, *flags)
        wait_for_step(process, folder, rows[-1]["step"] + 1 if rows else 1)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert f"Stopped by {number.name} after step" in output
        assert "Traceback" not in output
    assert run(SCRIPT, *flags)[0] == 0
    assert_same_state(undisturbed, folder)


def test_another_configuration_in_the_folder_is_refused(digits, tmp_path):
    loop.train(config(digits, tmp_path))
    before = latest_state(tmp_path)
    with pytest.raises(InputError, match="learning_rate was 0.1, is 0.2") as caught:
        loop.train(config(digits, tmp_path, learning_rate=0.2, log_every_steps=2))
    assert "log_every_steps" not in str(caught.value)
    with pytest.raises(InputError, match="max_number_of_steps was 4, is 5"):
        loop.train(config(digits, tmp_path, max_number_of_steps=5))
    assert json.loads((tmp_path / "config.json").read_text())["learning_rate"] == 0.1
    np.testing.assert_equal(latest_state(tmp_path), before)
    loop.train(config(digits, tmp_path, learning_rate=0.2, overwrite=True))
    assert json.loads((tmp_path / "config.json").read_text())["learning_rate"] == 0.2
    assert [row["step"] for row in read_json_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]


def test_other_images_of_the_same_labels_are_refused(digits, tmp_path):
    """Also where only the last image differs."""
    data, folder = tmp_path / "data", tmp_path / "train"
    shutil.copytree(digits / "0.4", data)
    (file,) = data.glob("digits_train-*")
    examples = records.read_examples(str(data), dataset_info("digits", data), "train")
    pixels = np.array(examples.images)
    columns = {"image/class/label": examples.labels, "image/id": examples.ids}
    records.write_records(file, pixels, columns)
    asked = dataclasses.replace(config(digits, folder, stop_after_step=2), data_dir=str(data))
    loop.train(asked)
    pixels[-1, 5, 5, 0] ^= 1
    records.write_records(file, pixels, columns)
    with pytest.raises(InputError, match=": `data_dir` holds other images or features"):
        loop.train(asked)
    pixels[-1, 5, 5, 0] ^= 1
    records.write_records(file, pixels, columns)
    loop.train(dataclasses.replace(asked, stop_after_step=3))
    assert tf.train.latest_checkpoint(str(folder)).endswith("-3")


def test_a_foreign_config_file_is_left_alone(digits, tmp_path):
    for text in ("[1]", "no json"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match="not a run's configuration"):
            loop.train(config(digits, tmp_path))
        assert (tmp_path / "config.json").read_text() == text
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n')
    with pytest.raises(InputError, match="holds a run with another configuration"):
        loop.train(config(digits, tmp_path))
    assert (tmp_path / "metrics.jsonl").exists()


def test_a_finished_run_is_left_alone(digits, tmp_path, capsys):
    loop.train(config(digits, tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("model.ckpt*")}
    loop.train(config(digits, tmp_path))
    assert "Nothing to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("model.ckpt*")}


def test_stopping_after_a_step_and_going_on(digits, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    loop.train(config(digits, whole))
    loop.train(config(digits, parts, stop_after_step=2))
    assert tf.train.latest_checkpoint(str(parts)).endswith("-2")
    loop.train(config(digits, parts, stop_after_step=2))
    assert tf.train.latest_checkpoint(str(parts)).endswith("-2")
    loop.train(config(digits, parts))
    assert_same_state(whole, parts)


def test_a_loss_that_is_not_finite_names_the_step_and_keeps_the_checkpoint(digits, tmp_path):
    loop.train(config(digits, tmp_path))
    broken = config(digits, tmp_path / "broken", learning_rate=1e30, save_interval_secs=0)
    with pytest.raises(InputError, match=r"The loss of step [234] is (nan|inf)") as caught:
        loop.train(broken)
    step = int(str(caught.value).split("step ")[1].split()[0])
    values = latest_state(tmp_path / "broken")
    assert values["state/global_step/.ATTRIBUTES/VARIABLE_VALUE"] == step - 1


def test_a_run_without_a_checkpoint_is_replaced(digits, tmp_path, capsys):
    """As after a loss that is not finite, with the lower rate that the message advises."""
    with pytest.raises(InputError, match="A lower `learning_rate` may help"):
        loop.train(config(digits, tmp_path, learning_rate=1e35))
    assert not list(tmp_path.glob("model.ckpt*"))
    assert (tmp_path / "config.json").exists()
    loop.train(config(digits, tmp_path, learning_rate=0.05))
    assert json.loads((tmp_path / "config.json").read_text())["learning_rate"] == 0.05
    assert [row["step"] for row in read_json_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    # A whole run is kept, although its checkpoints were deleted to save space.
    for path in (*tmp_path.glob("model.ckpt*"), tmp_path / "checkpoint"):
        path.unlink()
    with pytest.raises(InputError, match="learning_rate was 0.05, is 0.1"):
        loop.train(config(digits, tmp_path))
    with pytest.raises(InputError, match="has logged its last step, but has no checkpoint"):
        loop.train(config(digits, tmp_path, learning_rate=0.05))
    assert len(read_json_lines(tmp_path / "metrics.jsonl")) == 4
    # So is one that was reported on.
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()[:2]
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "labels.csv").touch()
    with pytest.raises(InputError, match="learning_rate was 0.05, is 0.1"):
        loop.train(config(digits, tmp_path))
    (tmp_path / "labels.csv").unlink()
    loop.train(config(digits, tmp_path, stop_after_step=1))
    assert "holds a run that saved nothing; it is replaced." in capsys.readouterr().out


def test_a_step_that_leads_to_parameters_that_are_not_finite_is_not_saved(digits, tmp_path):
    """Its own loss, which was computed before, is finite."""
    values = {"studentnet": "helpers:small_student", "weight_decay": 1e6}
    asked = config(digits, tmp_path, max_number_of_steps=1, learning_rate=3e38, **values)
    with pytest.raises(InputError, match="The parameters after step 1 are not finite"):
        loop.train(asked)
    assert tf.train.latest_checkpoint(str(tmp_path)) is None


def test_a_folder_belongs_to_one_process(train_flags, tmp_path):
    """A second training job refuses to start and names the first; likewise for evaluation."""
    flags = train_flags(train_log_dir=tmp_path / "train", max_number_of_steps=100_000)
    first = start("code/cifar_train_baseline.py", *flags)
    try:
        wait_for_step(first, tmp_path / "train", 5)
        status, output = run("code/cifar_train_baseline.py", *flags)
        assert status == 2
        assert "`train_log_dir` must not be used by two processes at once" in output
        assert f"in use by process {first.pid}" in output
        train, results, data = (str(tmp_path / name) for name in ("train", "eval", ""))
        refused = pytest.raises(InputError, match=f"in use by process {os.getpid()}")
        with files.held(tmp_path / "eval", "eval_dir"), refused:
            job.run(EvalConfig(train, results, data))
    finally:
        first.kill()
        first.communicate()
    with files.held(tmp_path / "train", "train_log_dir"):  # A kill leaves nothing behind.
        assert files.holder(tmp_path / "train") == os.getpid()
    assert files.holder(tmp_path / "train") is None


def test_unwritable_folder(digits, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match="`train_log_dir` .* cannot be written"):
        loop.train(config(digits, tmp_path / "file" / "train"))
    assert (tmp_path / "file").read_text() == "kept"


def test_bad_input_leaves_no_folder(digits, tmp_path):
    folder = tmp_path / "new"
    mentored = {"weighting": WeightingConfig(), "trained_mentornet_dir": MENTORNET}
    for values, part in (
        ({"studentnet": "alexnet"}, "must be one of .*coteaching_cnn, inception"),
        ({"dataset_name": "mnist"}, "must be one of cifar10"),
        ({"batch_size": 201}, "must not exceed the 200 training samples"),
        ({**mentored, "trained_mentornet_dir": "nowhere"}, "No MentorNet checkpoint at nowhere"),
        ({**mentored, "mentornet_label": "given"}, "needs a MentorNet with 10 labels"),
    ):
        with pytest.raises(InputError, match=part):
            loop.train(config(digits, folder, **values))
        assert not folder.exists()


def test_given_labels_reach_the_mentornet(digits, tmp_path):
    """With a MentorNet of ten labels, zero and given labels give different weights."""
    from mentornet import MentorNet, save_mentornet

    save_mentornet(MentorNet(num_labels=10), str(tmp_path / "ten"))
    images, labels = tf.random.stateless_normal((8, 32, 32, 3), (0, 0)), tf.range(8, dtype=tf.int64)
    weights = []
    for label in ("zero", "given"):
        settings = config(
            digits,
            tmp_path,
            weighting=WeightingConfig(example_dropout_rates="0,100"),
            trained_mentornet_dir=str(tmp_path / "ten"),
            mentornet_label=label,
        )
        trainer = make_trainer(settings, 200, 10, (32, 32, 3), dropout_rate=0.0)
        weights.append(trainer.step(images, labels).samples.weights.numpy().ravel())
    assert weights[0][0] == pytest.approx(weights[1][0])
    assert np.abs(weights[0] - weights[1])[1:].min() > 1e-4


def test_resnet_decays_its_kernels(digits, monkeypatch):
    """total = mean loss + 0.0002 * half squared norm of the kernels, where all weights are 1.

    Of the network an eighth as wide, with one unit a stage.
    """
    monkeypatch.setattr(resnet101, "_UNITS_PER_STAGE", 1)
    narrow = tuple((width // 8, stride) for width, stride in resnet101._STAGES)
    monkeypatch.setattr(resnet101, "_STAGES", narrow)
    settings = config(digits, "-", studentnet="resnet101")
    trainer = make_trainer(settings, 200, 10, (8, 8, 3))
    kernels = [v for v in trainer.student.trainable_variables if v.name == "kernel"]
    assert len(kernels) == 8
    norm = sum(float(np.square(k.numpy(), dtype=np.float64).sum()) / 2 for k in kernels)
    outputs = trainer.step(tf.zeros((2, 8, 8, 3)), tf.constant([1, 2], tf.int64))
    loss = float(outputs.scalars["mentornet/orig_loss"])
    assert float(outputs.total_loss) == pytest.approx(loss + 0.0002 * norm, rel=1e-4)


def test_student_dropout_is_a_function_of_seed_and_step(digits):
    images, labels = tf.random.stateless_normal((8, 32, 32, 3), (0, 0)), tf.range(8, dtype=tf.int64)

    def losses(seed, step):
        trainer = make_trainer(config(digits, "-", seed=0), 200, 10, (32, 32, 3))
        trainer._seed = seed
        trainer.global_step.assign(step)
        return trainer.step(images, labels).samples.losses.numpy()

    np.testing.assert_array_equal(losses(0, 3), losses(0, 3))
    assert (losses(0, 3) != losses(0, 4)).any()
    assert (losses(0, 3) != losses(1, 3)).any()


def test_prediction_statistics():
    labels, clean = np.array([0, 1, 2, 3]), np.array([0, 1, 0, -1])
    shares = prediction_statistics(np.array([0, 0, 2, 3]), labels, clean)
    assert shares == {"predictions/as_given": 0.75, "predictions/corrupted_as_given": 1.0}
    shares = prediction_statistics(labels, labels, labels)
    assert shares == {"predictions/as_given": 1.0}


def test_weight_statistics():
    labels, clean = np.array([0, 1, 2, 3]), np.array([0, 1, 0, -1])
    statistics = weight_statistics(np.array([0.9, 0.5, 0.6, 7.0]), labels, clean)
    assert statistics == {
        "sample_weights/mean_clean": pytest.approx(0.7),
        "sample_weights/mean_corrupted": pytest.approx(0.6),
        "sample_weights/auc": pytest.approx(0.5),
    }
    assert weight_statistics(np.ones(4), labels, np.full(4, -1)) == {}


def both(digits, tmp_path, name, max_number_of_steps=10, dropout="0.5,50,0,50", **values):
    """Final parameters and rows of a mentored run, unchanged and with other values."""
    states, rows = [], []
    mentored = {
        "studentnet": "helpers:normalized_network",
        "max_number_of_steps": max_number_of_steps,
        "learning_rate": 0.01,
        "log_every_steps": 2,
        "trained_mentornet_dir": MENTORNET,
        "weighting": WeightingConfig(example_dropout_rates=dropout),
        "record_sample_weights": True,
    }
    for folder, more in ((tmp_path / "plain", {}), (tmp_path / name, values)):
        loop.train(config(digits, folder, **(mentored | more)))
        states.append(latest_state(folder))
        rows.append(read_json_lines(folder / "metrics.jsonl"))
    return states, rows


def norm_of_difference(states, part="student/"):
    """Of all the student's parameters, relative to the parameters' norm."""
    plain, other = states
    names = [name for name in plain if name.startswith(part) and "seed" not in name]
    assert len(names) > 10 and plain.keys() <= other.keys()
    a, b = (np.concatenate([state[n].ravel() for n in names]) for state in states)
    return np.linalg.norm(a - b) / np.linalg.norm(a)


def test_several_steps_in_one_call_are_the_same(digits, tmp_path):
    states, rows = both(digits, tmp_path, "looped", steps_per_loop=2)
    assert norm_of_difference(states) < 1e-6
    for plain, looped in zip(*rows, strict=True):
        assert plain.keys() == looped.keys()
        for name in plain.keys() - {"images_per_second"}:
            assert looped[name] == pytest.approx(plain[name], rel=1e-4, abs=1e-5), name


def test_loops_end_at_multiples_wherever_the_run_began(digits, tmp_path):
    values = {"steps_per_loop": 4, "log_every_steps": 4, "max_number_of_steps": 10}
    loop.train(config(digits, tmp_path / "whole", **values))
    for stop in (3, None):  # 0..3, then 3..4, 4..8 and 8..10
        loop.train(config(digits, tmp_path / "parts", stop_after_step=stop, **values))
    rows = read_json_lines(tmp_path / "parts" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [4, 8, 10]
    assert_same_state(tmp_path / "whole", tmp_path / "parts")
    with pytest.raises(InputError, match="`log_every_steps` must be a multiple"):
        config(digits, tmp_path, steps_per_loop=4, log_every_steps=6)


@pytest.mark.parametrize(
    ("values", "num_steps", "tolerance"),
    [
        # XLA draws other random numbers; and batch normalisation of 16 samples spreads a rounding
        # quickly, hence fewer steps.
        ({"jit_compile": True, "deterministic": False, "dropout": "0,100"}, 2, 1e-4),
        ({"mixed_precision": "bfloat16"}, 10, 0.02),
        ({"mixed_precision": "mixed_float16"}, 10, 0.005),
    ],
    ids=["xla", "bfloat16", "float16"],
)
def test_other_ways_to_compute(digits, tmp_path, values, num_steps, tolerance):
    states, _ = both(digits, tmp_path, "other", max_number_of_steps=num_steps, **values)
    assert 0 < norm_of_difference(states) < tolerance
    for state in states:  # Weights, losses and moving averages stay float32.
        assert {a.dtype for a in state.values() if a.dtype.kind == "f"} == {np.dtype("float32")}
        assert 0 < state["state/loss_moving_average/.ATTRIBUTES/VARIABLE_VALUE"] < 10
    if values.get("mixed_precision") == "mixed_float16":
        assert states[1]["state/loss_scale/.ATTRIBUTES/VARIABLE_VALUE"] <= 2**15


def test_a_run_of_an_earlier_version_goes_on(digits, tmp_path):
    """Its config.json has nulls, and lacks newer fields, for which the defaults applied."""
    loop.train(config(digits, tmp_path, stop_after_step=2))
    saved = json.loads((tmp_path / "config.json").read_text())
    for name in ("mixup", "ema_decay", "mixed_precision", "jit_compile"):
        del saved[name]
    for name in ("learning_rate_schedule", "batch_norm_decays", "class_names", "images_sha256"):
        del saved[name]
    saved |= {"momentum": None, "weight_decay": None, "augment": None}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert loop.train(config(digits, tmp_path)) == 4
    del saved["batch_size"]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match="batch_size was 128, is 16"):
        loop.train(config(digits, tmp_path))


def test_a_signal_at_the_last_step_stops_nothing(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop.distribution, "AnyWorker", lambda *_: lambda own: True)
    assert loop.train(config(digits, tmp_path / "a", max_number_of_steps=1)) == 1
    assert "Stopped by" not in capsys.readouterr().out
    assert loop.train(config(digits, tmp_path / "b")) == 1
    told = "Stopped by a signal to another worker after step 1, which is saved"
    assert told in capsys.readouterr().out


def test_no_step_follows_the_last(digits, tmp_path):
    assert loop.train(config(digits, tmp_path, max_number_of_steps=1, stop_after_step=3)) == 1


def test_workers_that_found_other_checkpoints_are_refused(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.distribution, "same_everywhere", lambda strategy, value: False)
    with pytest.raises(InputError, match="must find the same checkpoint .*step=0"):
        loop.train(config(digits, tmp_path))
    assert not (tmp_path / "metrics.jsonl").exists()


def test_flags_without_effect_are_named(digits, tmp_path, capsys):
    boundaries = {"learning_rate_boundaries": (3,), "num_epochs_per_decay": 7.0}
    loop.train(config(digits, tmp_path, max_number_of_steps=1, **boundaries))
    assert "WARNING: --num_epochs_per_decay has no effect" in capsys.readouterr().out


def test_as_many_checkpoints_are_kept_as_asked(digits, tmp_path):
    asked = {"max_number_of_steps": 4, "save_interval_steps": 1, "max_to_keep": 2}
    loop.train(config(digits, tmp_path, **asked))
    assert {path.stem for path in tmp_path.glob("*.index")} == {"model.ckpt-3", "model.ckpt-4"}


@pytest.mark.parametrize("deterministic", [False, True])
def test_determinism_is_asked_for(digits, tmp_path, monkeypatch, deterministic):
    asked = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(True))
    loop.train(config(digits, tmp_path, max_number_of_steps=1, deterministic=deterministic))
    assert asked == [True] * deterministic


@pytest.mark.parametrize("augment", [False, True])
def test_augmentation_is_by_default_the_data_sets(digits, tmp_path, monkeypatch, augment):
    info = dataclasses.replace(dataset_info("digits", digits / "0.4"), augment=augment)
    asked = []

    def defaults(config, augment):
        asked.append(augment)
        raise InputError("enough")

    monkeypatch.setattr(loop, "dataset_info", lambda *_: info)
    monkeypatch.setattr(loop.recipe, "defaults", defaults)
    with pytest.raises(InputError, match="enough"):
        loop.train(config(digits, tmp_path))
    assert asked == [augment]


def test_workers_wait_for_the_chief(digits, tmp_path, monkeypatch):
    seen = []

    def note(owner, name):
        function = getattr(owner, name)

        def noted(*given, **more):
            seen.append(name)
            return function(*given, **more)

        monkeypatch.setattr(owner, name, noted)

    note(loop.run_folder, "open_folder")
    note(loop.distribution, "barrier")
    note(loop.RunCheckpoint, "restore_latest")
    note(loop.RunCheckpoint, "save")
    loop.train(config(digits, tmp_path, max_number_of_steps=1))
    assert seen == ["open_folder", "barrier", "restore_latest", "save", "barrier"]


def test_settings_of_an_augmentation_that_does_not_take_place(digits, tmp_path, capsys):
    loop.train(config(digits, tmp_path, max_number_of_steps=1, cutout=8))
    printed = capsys.readouterr().out
    assert "WARNING: --cutout has no effect: samples are not augmented." in printed
    assert "--flip" not in printed
