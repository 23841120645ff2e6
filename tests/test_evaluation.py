"""The evaluation job evaluates every checkpoint and every image once, whatever happens."""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import types
from typing import Any

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import run, start

from mentornet import InputError
from mentornet.cli.commands import evaluate as evaluate_command
from mentornet.config.evaluation import EvalConfig
from mentornet.config.training import TrainConfig
from mentornet.core import files
from mentornet.core.files import read_json_lines
from mentornet.datasets import records
from mentornet.datasets.catalog import DatasetInfo, dataset_info
from mentornet.datasets.prepare import PrepareConfig, prepare
from mentornet.evaluation import dump, export, job, predictor
from mentornet.runs.checkpoints import find_latest, read_run_config
from mentornet.training import loop


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits):
    """A run of three steps with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("trained") / "train"
    loop.train(helpers.config(digits, folder, max_number_of_steps=3, save_interval_secs=0))
    return folder


def config(trained, digits, tmp_path, **values):
    values = {"eval_interval_secs": 0, "batch_size": 64} | values
    return EvalConfig(str(trained), str(tmp_path / "eval"), str(digits / "val"), **values)


def rows(tmp_path):
    return read_json_lines(tmp_path / "eval" / "eval.jsonl")


def test_every_checkpoint_once_and_every_image(trained, digits, tmp_path, capsys):
    job.run(config(trained, digits, tmp_path))
    assert [(row["step"], row["num_examples"]) for row in rows(tmp_path)] == [
        (1, 360),
        (2, 360),
        (3, 360),
    ]
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert summary["last_step"] == 3
    assert summary["best_accuracy"] == max(row["eval/accuracy"] for row in rows(tmp_path))
    assert list(summary["per_class_accuracy"]) == list("0123456789")
    assert "class  accuracy (step 3)" in capsys.readouterr().out
    events = [
        (event.step, value.tag)
        for file in (tmp_path / "eval").glob("events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    tags = ("eval/accuracy", "total_loss")
    assert sorted(events) == [(step, tag) for step in (1, 2, 3) for tag in tags]
    # A second job finds nothing to do and ends at once; the best step may be an earlier one.
    found = rows(tmp_path)
    found[1]["eval/accuracy"] = 1.0
    lines = [json.dumps(row) + "\n" for row in found]
    (tmp_path / "eval" / "eval.jsonl").write_text("".join(lines))
    job.run(config(trained, digits, tmp_path))
    assert rows(tmp_path) == found
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert (summary["best_step"], summary["best_accuracy"], summary["last_step"]) == (2, 1, 3)
    assert summary["last_accuracy"] == found[2]["eval/accuracy"] < 1
    assert "best accuracy 1.0000 (step 2)" in capsys.readouterr().out


def test_results_do_not_depend_on_the_batch_size(trained, digits, tmp_path):
    results = []
    for size in (7, 360, 1000):
        job.run(config(trained, digits, tmp_path / str(size), batch_size=size))
        results.append(rows(tmp_path / str(size))[-1])
    for row in results:
        assert row["num_examples"] == 360
        assert row["eval/accuracy"] == results[0]["eval/accuracy"]
        assert row["total_loss"] == pytest.approx(results[0]["total_loss"], rel=1e-5)


def test_accuracies_against_numpy(digits):
    info = dataset_info("digits", digits / "val")
    examples = records.read_examples(str(digits / "val"), info, "test")
    random = np.random.default_rng(0)
    logits = random.normal(size=(360, 10)).astype(np.float32)
    losses = random.random(360).astype(np.float32)
    row = predictor.accuracies(predictor.Predictions(losses, logits), examples, info)
    hit = logits.argmax(1) == examples.labels
    assert row["eval/accuracy"] == pytest.approx(hit.mean())
    assert row["total_loss"] == pytest.approx(losses.mean(), rel=1e-6)
    for label in range(10):
        expected = hit[examples.labels == label].mean()
        assert row["per_class_accuracy"][str(label)] == pytest.approx(expected)


def test_goes_on_after_a_restart(trained, digits, tmp_path):
    job.run(config(trained, digits, tmp_path))
    file = tmp_path / "eval" / "eval.jsonl"
    lines = file.read_text().splitlines()
    file.write_text(lines[0] + "\n" + lines[1][:20])  # Killed while writing the second row.
    job.run(config(trained, digits, tmp_path))
    assert file.read_text().splitlines() == lines


def test_rows_of_another_run_are_set_aside(trained, digits, tmp_path, capsys):
    """As after `--overwrite`: also those of steps that the new run has not."""
    folder = tmp_path / "again"
    shutil.copytree(trained, folder)
    asked = config(folder, digits, tmp_path)
    job.run(asked)
    old = rows(tmp_path)
    for seed in (5, 6):
        shutil.rmtree(folder)
        steps = {"max_number_of_steps": 3, "save_interval_steps": 3, "seed": seed}
        loop.train(helpers.config(digits, folder, **steps))
        job.run(asked)
        job.run(asked)
    assert "they were moved to eval-2.jsonl" in capsys.readouterr().out
    assert read_json_lines(tmp_path / "eval" / "eval-1.jsonl") == old
    (first,) = read_json_lines(tmp_path / "eval" / "eval-2.jsonl")
    (second,) = rows(tmp_path)
    assert first["step"] == second["step"] == 3
    losses = {row["total_loss"] for row in (first, second, old[-1])}
    assert len(losses) == 3
    assert json.loads((tmp_path / "eval" / "summary.json").read_text())["best_step"] == 3


def test_rows_of_steps_that_no_longer_occur_are_set_aside(trained, digits, tmp_path):
    """The run that replaced theirs saved at other steps; the oldest checkpoints may be deleted."""
    folder = tmp_path / "again"
    shutil.copytree(trained, folder)
    asked = config(folder, digits, tmp_path, run_once=True)
    job.run(asked)
    paths = [str(folder / f"model.ckpt-{step}") for step in (1, 2, 3)]
    tf.compat.v1.train.update_checkpoint_state(str(folder), paths[2], paths[1:])
    job.run(asked)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]
    tf.compat.v1.train.update_checkpoint_state(str(folder), paths[1], paths[:2])
    job.run(asked)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]
    assert len(read_json_lines(tmp_path / "eval" / "eval-1.jsonl")) == 3


@pytest.mark.parametrize("what", ["data", "split", "views"])
def test_rows_of_other_data_are_set_aside(trained, digits, tmp_path, capsys, what):
    """What is asked for is evaluated, although every step was evaluated on something else."""
    asked = config(trained, digits, tmp_path, run_once=True)
    job.run(asked)
    old = rows(tmp_path)
    if what == "views":
        other = dataclasses.replace(asked, test_time_augmentation=True)
    else:
        data, split = tmp_path / "data", "test" if what == "data" else "train"
        data.mkdir()
        for path in (digits / "0.4").glob("digits_train-*"):
            shutil.copy(path, data / path.name.replace("train", split))
        other = dataclasses.replace(asked, data_dir=str(data), split_name=split)
    capsys.readouterr()
    for _ in range(2):
        job.run(other)
    assert capsys.readouterr().out.count("they were moved to eval-1.jsonl") == 1
    assert read_json_lines(tmp_path / "eval" / "eval-1.jsonl") == old
    new = rows(tmp_path)
    assert [row["step"] for row in new] == [1, 2, 3]
    assert all(a["total_loss"] != b["total_loss"] for a, b in zip(old, new, strict=True))


def test_rows_without_data_stay(trained, digits, tmp_path):
    """Earlier versions did not record which data a row is of."""
    asked = config(trained, digits, tmp_path, run_once=True)
    job.run(asked)
    file = tmp_path / "eval" / "eval.jsonl"
    old = rows(tmp_path)
    for row in old:
        assert len(row.pop("data")) == len(row.pop("checkpoint")) == 16
    file.write_text("".join(json.dumps(row) + "\n" for row in old[:2]))
    job.run(asked)
    assert rows(tmp_path)[:2] == old[:2] and len(rows(tmp_path)) == 3
    assert not (tmp_path / "eval" / "eval-1.jsonl").exists()


def test_waits_for_the_first_checkpoint_and_for_the_last(trained, digits, tmp_path):
    """New checkpoints appear while the job sleeps."""
    folder, sleeps = tmp_path / "later", []

    def sleep(seconds):
        sleeps.append(seconds)
        if len(sleeps) == 2:
            shutil.copytree(trained, folder)
            tf.compat.v1.train.update_checkpoint_state(str(folder), "model.ckpt-1")
        if len(sleeps) == 4:
            shutil.copy(trained / "checkpoint", folder / "checkpoint")

    job.run(config(folder, digits, tmp_path, eval_interval_secs=5), sleep=sleep)
    assert sleeps == [5.0] * 4
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]


def test_survives_deleted_and_half_written_checkpoints(trained, digits, tmp_path, capsys):
    folder, sleeps = tmp_path / "damaged", []
    shutil.copytree(trained, folder)
    for file in folder.glob("model.ckpt-1.*"):
        file.unlink()
    data = folder / "model.ckpt-2.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[:1000])

    def sleep(seconds):
        sleeps.append(seconds)
        data.write_bytes(whole)

    job.run(config(folder, digits, tmp_path, timeout_secs=0), sleep=sleep)
    output = capsys.readouterr().out
    assert "Step 1: the checkpoint was deleted before it was evaluated." in output
    assert "WARNING: step 2: " in output
    assert [row["step"] for row in rows(tmp_path)] == [3]
    job.run(config(folder, digits, tmp_path, run_once=True), sleep=sleep)
    data.write_bytes(whole)
    job.run(config(folder, digits, tmp_path, run_once=True))
    assert [row["step"] for row in rows(tmp_path)] == [3, 2]
    for _ in range(2):  # Evaluated in this process, and read from the file.
        summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
        assert summary["last_step"] == 3
        job.run(config(folder, digits, tmp_path, run_once=True))
    assert [row["step"] for row in rows(tmp_path)] == [3, 2]


def test_timeout(digits, tmp_path, capsys):
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    settings = config(tmp_path, digits, tmp_path, eval_interval_secs=4, timeout_secs=10)
    job.run(settings, clock=lambda: now[0], sleep=sleep)
    assert now[0] == 10
    assert "No new checkpoint for 10 seconds." in capsys.readouterr().out


@pytest.mark.parametrize("seconds", [float("inf"), 1e300, -1])
def test_an_interval_that_is_none(seconds):
    with pytest.raises(InputError, match="`eval_interval_secs` must be at least 0 and below 1000"):
        EvalConfig("c", "e", "d", eval_interval_secs=seconds)


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(b""), pathlib.Path.unlink])
def test_timeout_with_a_damaged_checkpoint(damage, trained, digits, tmp_path):
    """It is tried again, but is not a new one each time."""
    folder, now = tmp_path / "damaged", [0.0]
    shutil.copytree(trained, folder)
    damage(folder / "model.ckpt-3.data-00000-of-00001")

    def sleep(seconds):
        now[0] += seconds
        assert now[0] <= 10

    settings = config(folder, digits, tmp_path, eval_interval_secs=4, timeout_secs=10)
    job.run(settings, clock=lambda: now[0], sleep=sleep)
    assert now[0] == 10
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]


def test_that_no_training_goes_on_is_told(trained, digits, tmp_path, capsys):
    """Once, and only if it is so."""
    folder, now = tmp_path / "stopped", [0.0]
    shutil.copytree(trained, folder)
    for file in folder.glob("model.ckpt-3.*"):
        file.unlink()
    said = f"Waiting, but no process trains in {folder}."
    with contextlib.ExitStack() as training:
        training.enter_context(files.held(folder, "train_log_dir"))

        def sleep(seconds):
            assert (said in capsys.readouterr().out) == (now[0] == 8)  # The lock ends then.
            now[0] += seconds
            if now[0] == 8:
                training.close()

        settings = config(folder, digits, tmp_path, eval_interval_secs=4, timeout_secs=20)
        job.run(settings, clock=lambda: now[0], sleep=sleep)
    assert now[0] == 20 and [row["step"] for row in rows(tmp_path)] == [1, 2]


def test_a_flag_that_disagrees_is_named(trained, digits, tmp_path, capsys):
    asked = {"studentnet": "resnet101", "dataset_name": "cifar10"}
    job.run(config(trained, digits, tmp_path, **asked))
    output = capsys.readouterr().out
    assert output.count("--dataset_name=cifar10 is ignored: the checkpoint has digits") == 1
    assert (
        output.count("--studentnet=resnet101 is ignored: the checkpoint has helpers:small_network")
        == 1
    )
    assert len(rows(tmp_path)) == 3


def zoo(folder, classes, width=4):
    """Records of features of some classes: the folders of both splits."""
    labels = np.array(classes)[np.arange(40) % len(classes)]
    features = np.random.default_rng(0).normal(size=(40, width))
    folder.mkdir()
    np.savez(folder / "zoo.npz", features=features, labels=labels)
    asked = PrepareConfig("zoo", str(folder), str(folder / "zoo.npz"))
    prepare(asked)
    return asked.train_folder, asked.test_folder


@pytest.fixture(scope="module")
def zoo_run(tmp_path_factory):
    """A run of one step on three classes."""
    folder = tmp_path_factory.mktemp("zoo")
    train, _ = zoo(folder / "data", ["bee", "cat", "dog"])
    names: dict[str, Any] = {"dataset_name": "zoo", "studentnet": "mlp", "batch_size": 8}
    loop.train(TrainConfig(str(train), str(folder / "run"), max_number_of_steps=1, **names))
    return folder / "run"


@pytest.mark.parametrize(
    ("classes", "width", "message"),
    [
        (["cat", "dog"], 4, "it has 2 instead of 3"),
        (["ant", "bee", "cat", "dog"], 4, "it has 4 instead of 3"),
        (["ant", "cat", "dog"], 4, "it has 'ant' in the place of 'bee'"),
        (["bee", "cat", "dog"], 5, r"image_shape=\[5\], trained_on=\[4\]"),
    ],
)
def test_records_that_do_not_fit_the_student(zoo_run, tmp_path, classes, width, message):
    _, test = zoo(tmp_path / "data", classes, width)
    with pytest.raises(InputError, match=message):
        job.run(EvalConfig(str(zoo_run), str(tmp_path / "eval"), str(test), run_once=True))


def test_a_run_that_did_not_record_its_classes(zoo_run, tmp_path, monkeypatch):
    """Those of earlier versions are evaluated as before."""
    _, test = zoo(tmp_path / "data", ["ant", "cat", "dog"])
    run = read_run_config(find_latest(str(zoo_run)))
    assert run.pop("class_names") == ["bee", "cat", "dog"]
    monkeypatch.setattr(job, "describe_student", lambda *_: run)
    job.run(EvalConfig(str(zoo_run), str(tmp_path / "eval"), str(test)))
    assert len(rows(tmp_path)) == 1


def test_a_student_of_the_release(digits, tmp_path):
    """A TensorFlow 1 checkpoint does not describe its student: the flags do."""
    from mentornet import build_student
    from mentornet.students import registry

    student = build_student("inception", 10, seed=5)
    variables = registry.tf1_variables(student)
    folder = tmp_path / "release"
    folder.mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt-120000"),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=[variable.value for variable in variables.values()],
    )
    tf.compat.v1.train.update_checkpoint_state(str(folder), "model.ckpt-120000")
    with pytest.raises(InputError, match="`studentnet` and `dataset_name` must describe it"):
        job.run(config(folder, digits, tmp_path, run_once=True))
    names = {"studentnet": "inception", "dataset_name": "digits"}
    job.run(config(folder, digits, tmp_path, run_once=True, **names))
    assert rows(tmp_path)[0]["step"] == 120000
    job.run(config(folder, digits, tmp_path, timeout_secs=0, **names))  # Waits for no more.
    assert len(rows(tmp_path)) == 1


def test_nothing_to_evaluate_once(digits, tmp_path):
    asked = config(tmp_path / "none", digits, tmp_path, run_once=True)
    with pytest.raises(InputError, match="`checkpoint_dir` must be an existing folder"):
        job.run(asked)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="No readable checkpoint in"):
        job.run(asked)


def test_beside_a_training(train_flags, digits, tmp_path):
    """Two processes, the evaluation started first."""
    folder = tmp_path / "train"
    eval_flags = {
        "checkpoint_dir": folder,
        "eval_dir": tmp_path / "eval",
        "data_dir": digits / "val",
        "eval_interval_secs": 0.2,
    }
    job = start("code/cifar_eval.py", *(f"--{name}={v}" for name, v in eval_flags.items()))
    flags = train_flags(train_log_dir=folder, save_interval_secs=1)
    status, output = run("code/cifar_train_baseline.py", *flags)
    assert status == 0, output
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 0, output
    assert rows(tmp_path)[-1]["step"] == 40
    assert "last accuracy" in output


def test_each_checkpoint_begins_the_timeout_anew(trained, digits, tmp_path):
    """It appears after 8 seconds; 10 more without another one end the job."""
    folder, now = tmp_path / "later", [0.0]

    def sleep(seconds):
        now[0] += seconds
        if now[0] == 8:
            shutil.copytree(trained, folder)
            tf.compat.v1.train.update_checkpoint_state(str(folder), "model.ckpt-1")

    settings = config(folder, digits, tmp_path, eval_interval_secs=4, timeout_secs=10)
    job.run(settings, clock=lambda: now[0], sleep=sleep)
    assert now[0] == 18
    assert [row["step"] for row in rows(tmp_path)] == [1]


def test_rows_of_other_images_are_set_aside(trained, digits, tmp_path):
    val, data = str(digits / "val"), tmp_path / "data"
    data.mkdir()
    examples = records.read_examples(val, dataset_info("digits", val), "test")
    columns = {"image/class/label": examples.labels, "image/id": examples.ids}
    pixels = 255 - np.asarray(examples.images)
    records.write_records(data / "digits_test-00000-of-00001", pixels, columns)
    asked = config(trained, digits, tmp_path, run_once=True)
    for folder in (val, str(data)):
        job.run(dataclasses.replace(asked, data_dir=folder))
    assert len(read_json_lines(tmp_path / "eval" / "eval-1.jsonl")) == 3


def test_a_folder_of_results_belongs_to_one_process(trained, digits, tmp_path):
    refused = pytest.raises(InputError, match="`eval_dir` must not be used by two processes")
    with files.held(tmp_path / "eval", "eval_dir"), refused:
        job.run(config(trained, digits, tmp_path, run_once=True))
    assert rows(tmp_path) == []


def test_a_known_data_set_fits_whatever_its_classes_are_called():
    """As if it came from another source."""
    run = {"num_classes": 10, "class_names": [*"abcdefghij"], "image_shape": [32, 32, 3]}
    examples: Any = types.SimpleNamespace(image_shape=(32, 32, 3))
    info = dataset_info("digits", "-")
    predictor.check_fits(run, info, examples, "data")
    larger: Any = types.SimpleNamespace(image_shape=(64, 64, 3))
    with pytest.raises(InputError, match=r"trained_on=\[32, 32, 3\]"):
        predictor.check_fits(run, info, larger, "data")
    with pytest.raises(InputError, match="it has '0' in the place of 'a'"):
        predictor.check_fits(run, dataclasses.replace(info, name="own"), examples, "data")


def test_data_that_are_missing_are_not_waited_for(tmp_path):
    """Nor is anything written."""

    def sleep(seconds):
        pytest.fail(f"waits {seconds} seconds")

    train, folder, data = (str(tmp_path / name) for name in ("train", "eval", "data"))
    asked = EvalConfig(train, folder, data)
    with pytest.raises(InputError, match="`data_dir` must be an existing folder"):
        job.run(asked, sleep=sleep)
    assert not (tmp_path / "eval").exists()


def test_the_first_of_equally_good_steps_is_the_best(tmp_path):
    own = {"eval/accuracy": 0.75, "num_examples": 8, "per_class_accuracy": {"cat": 0.75}}
    rows = [{"step": step} | own for step in (1, 2)]
    state: Any = types.SimpleNamespace(own_rows=rows, rows=rows, _kept_step=None)
    state._config = types.SimpleNamespace(eval_dir=str(tmp_path))
    job._Job.summarize(state)
    assert json.loads((tmp_path / "summary.json").read_text())["best_step"] == 1


def test_rows_stay_once_all_checkpoints_are_gone():
    state: Any = types.SimpleNamespace(own_rows=[{"step": 3}])
    assert not job._Job._are_of_another_run(state, [])


def test_later_rows_than_the_first_checkpoint_without_one_are_of_another_run():
    state: Any = types.SimpleNamespace(own_rows=[{"step": 5}, {"step": 15}])
    assert job._Job._are_of_another_run(state, ["run/model.ckpt-10", "run/model.ckpt-20"])
    assert not job._Job._are_of_another_run(state, ["run/model.ckpt-20", "run/model.ckpt-30"])


def test_a_checkpoint_that_is_still_listed_but_deleted_sets_nothing_aside(tmp_path):
    state: Any = types.SimpleNamespace(own_rows=[{"step": 5, "checkpoint": "0123"}])
    assert not job._Job._are_of_another_run(state, [str(tmp_path / "model.ckpt-5")])


@pytest.mark.parametrize("error", [InputError("Other classes."), OSError("It is damaged.")])
def test_data_with_which_no_checkpoint_can_be_opened(error):
    """Data that do not fit are an error; a damaged checkpoint may be whole the next time."""
    said: list[str] = []

    def unreadable(prefix):
        raise error

    state: Any = types.SimpleNamespace(rows=[{"step": 1}], _facts={}, _open=unreadable)
    state.say_once, state._file = said.append, "eval.jsonl"
    if isinstance(error, InputError):
        with pytest.raises(InputError, match="Other classes"):
            job._Job._differ_in_data(state, ["model.ckpt-1"])
    else:
        assert not job._Job._differ_in_data(state, ["model.ckpt-1"])
        assert said == ["WARNING: no checkpoint can be read: eval.jsonl may be of other data."]


def test_the_summary_by_hand(tmp_path, capsys):
    """The classes' accuracies are those of the last step, not of the best."""
    rows = [
        {"step": step, "eval/accuracy": accuracy, "num_examples": number, "per_class_accuracy": own}
        for step, accuracy, number, own in (
            (1, 0.75, 8, {"cat": 1.0, "dog": 0.5}),
            (2, 0.5, 9, {"cat": 0.25, "dog": 0.625}),
        )
    ]
    state: Any = types.SimpleNamespace(own_rows=rows, rows=rows, _kept_step=None)
    state._config = types.SimpleNamespace(eval_dir=str(tmp_path))
    found = job._Job.summarize(state)
    assert found == json.loads((tmp_path / "summary.json").read_text())
    assert found == {
        "last_step": 2,
        "last_accuracy": 0.5,
        "best_step": 1,
        "best_accuracy": 0.75,
        "num_examples": 9,
        "per_class_accuracy": {"cat": 0.25, "dog": 0.625},
    }
    assert capsys.readouterr().out.splitlines() == [
        "last accuracy 0.5000 (step 2)",
        "best accuracy 0.7500 (step 1)",
        "class  accuracy (step 2)",
        "cat    0.2500",
        "dog    0.6250",
    ]


def test_a_master_is_refused(monkeypatch):
    monkeypatch.setattr(evaluate_command, "FLAGS", types.SimpleNamespace(master="grpc://x"))
    rule = "^--master is not supported. Received: master='grpc://x'$"
    with pytest.raises(InputError, match=rule):
        evaluate_command.main()


def test_a_class_without_samples_has_no_accuracy():
    labels = np.array([0, 2, 2])
    examples = records.Examples(tf.zeros([3, 1]), (1,), labels, labels, labels, labels < 0)
    predictions = predictor.Predictions(np.zeros(3, np.float32), np.eye(3, dtype=np.float32))
    info = DatasetInfo("own", 3, ("a", "b", "c"))
    row = predictor.accuracies(predictions, examples, info)
    assert row["per_class_accuracy"] == {"a": 1.0, "c": 0.5}


def test_rows_of_features_have_no_views():
    zero, student = np.zeros(3, np.int64), None
    rows = records.Examples(tf.zeros([3, 2]), (2,), zero, zero, zero, zero == 1)
    with pytest.raises(InputError, match="`test_time_augmentation` must be off for features"):
        predictor.Predictor(student, "image", True)(rows, 2)


def test_a_sample_that_can_no_longer_be_read(monkeypatch):
    zero = np.zeros(3, np.int64)
    rows = records.Examples(tf.zeros([3, 2]), (2,), zero, zero, zero, zero == 1)
    made = predictor.Predictor(None, "image")

    def batches(*_):
        raise tf.errors.InvalidArgumentError(None, None, "no picture")
        yield

    monkeypatch.setattr(predictor.pipeline, "evaluation_batches", batches)
    with pytest.raises(InputError, match="A batch cannot be read: no picture"):
        made(rows, 2)


def test_an_export_has_the_shape_that_was_trained_on(zoo_run):
    loaded = export.load_trained(str(zoo_run))
    assert (loaded.image_shape, loaded.class_names) == ((4,), ("bee", "cat", "dog"))


def test_losses_and_logits_are_float32_whatever_the_student_computes_in():
    student = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="mixed_bfloat16")])
    given = tf.ones([4, 3]), tf.zeros([4], tf.int64)
    made = predictor.Predictor(student, "image")
    found = made.forward(*given)
    assert [each.dtype for each in found] == [tf.float32, tf.float32]


def test_another_student_is_built_anew(monkeypatch):
    asked = [("mlp", 2), ("mlp", 2), ("resnet8", 2), ("resnet8", 3)]
    runs = ({"studentnet": name, "num_classes": number} for name, number in asked)
    built: list[Any] = []
    monkeypatch.setattr(job, "rebuild_student", lambda run: built.append(tuple(run.values())))
    monkeypatch.setattr(job, "restore_student", lambda student, prefix: None)
    state: Any = types.SimpleNamespace(_predictor=None, _built_from=None, _facts={})
    state._open = lambda prefix: next(runs)
    for _ in asked:
        job._Job._restore(state, "run/model.ckpt-1")
    assert built == asked[1:]


def test_a_step_that_was_gone_may_come_again(tmp_path, monkeypatch):
    """As when the run was deleted and began anew, and no row tells."""
    made = job._Job(EvalConfig(str(tmp_path), str(tmp_path / "eval"), str(tmp_path)))
    made._gone |= {3, 4}
    for step in (3, 5):
        (tmp_path / f"model.ckpt-{step}.index").touch()
    paths = [str(tmp_path / f"model.ckpt-{step}") for step in (3, 4, 5)]
    monkeypatch.setattr(job, "checkpoint_paths", lambda folder: paths)
    assert made.new_checkpoints() == [paths[0], paths[2]]
    made.close()


def test_steps_that_were_gone_count_in_the_next_run(tmp_path):
    made = job._Job(EvalConfig(str(tmp_path), str(tmp_path / "eval"), str(tmp_path)))
    made._gone.add(3)
    made._set_rows_aside("checkpoints")
    made.close()
    assert not made._gone


def test_the_losses_that_are_asked_for(monkeypatch):
    given = {"checkpoint_dir": "run", "data_dir": "d", "split_name": "test", "batch_size": 7}
    csv = {"output_csv_file": "c"}
    values = {EvalConfig: given | {"eval_dir": ""}, evaluate_command.DumpConfig: csv}
    asked: list[dict[str, Any]] = []
    told = types.SimpleNamespace(master="", test_time_augmentation=False, **csv)
    monkeypatch.setattr(evaluate_command, "FLAGS", told)
    monkeypatch.setattr(evaluate_command.config_flags, "read_flags", values.get)
    monkeypatch.setattr(evaluate_command.script, "load_tensorflow", lambda: None)
    monkeypatch.setattr(dump, "write_losses", lambda **how: asked.append(how))
    evaluate_command.main()
    assert asked == [given | csv | {"num_samples": None, "seed": 0, "features": ()}]
