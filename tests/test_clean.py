"""`mentornet` and its commands, and finding wrong labels in one command."""

import csv
import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest
from absl import flags
from helpers import ROOT, run
from sklearn.datasets import load_digits

import mentornet
from mentornet.cleaning import label_issues, planning, stages
from mentornet.cli import front, training_flags, weighting_flags
from mentornet.cli.commands import COMMANDS, clean
from mentornet.config.cleaning import CleanConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.core import files
from mentornet.core.errors import InputError
from mentornet.datasets.catalog import DatasetInfo
from mentornet.datasets.corrections import SCORE_DECIMALS
from mentornet.datasets.prepare_config import PrepareConfig
from mentornet.label_noise.noise_rate import NoiseRate
from mentornet.runs import writers

COMMAND = "code/mentornet/__main__.py"


def test_other_settings_are_refused_before_anything_is_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_prepared", lambda *arguments: pytest.fail("it prepares"))
    asked = stages._asked("digits", CleanConfig(str(tmp_path), seed=1))
    (tmp_path / "clean.json").write_text(json.dumps(asked))
    with pytest.raises(InputError, match="holds other results"):
        stages.clean("digits", CleanConfig(str(tmp_path)))


@pytest.fixture(scope="module")
def digits_of_8():
    """Images uint8 [600, 8, 8], given labels of which three in ten are wrong, and clean ones."""
    digits, generator = load_digits(), np.random.default_rng(0)
    clean = digits.target[:600]
    wrong = generator.permutation(600) < 180
    given = np.where(wrong, (clean + generator.integers(1, 10, 600)) % 10, clean)
    return np.uint8(digits.images[:600] * 15), given, clean


def mentornet_command(*arguments):
    """Exit status, standard output and standard error."""
    command = [sys.executable, "-X", "importtime", "-m", "mentornet", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "tests")
    lines = result.stderr.splitlines()
    shown = [line for line in lines if not line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines if "import time:" in line}
    return result.returncode, result.stdout, shown, imported


def test_the_commands_are_listed():
    status, output, shown, imported = mentornet_command("--help")
    assert status == 0 and not shown
    commands = "clean correct evaluate export learn prepare report train"
    assert [line.split()[0] for line in output.splitlines() if line[:2] == "  "] == commands.split()
    assert len(output.splitlines()) < 24 and max(map(len, output.splitlines())) <= 100
    assert not imported & {"tensorflow", "numpy", "absl"}  # That is why it is quick.
    assert mentornet_command("--version")[1] == f"mentornet {mentornet.__version__}\n"


def test_an_unknown_command():
    status, output, shown, _ = mentornet_command("clear", "--help")
    assert (status, output, len(shown)) == (2, "", 1)
    assert shown[0].startswith("error: `command` must be one of clean, correct,")
    assert shown[0].endswith("Received: command='clear'")


@pytest.mark.parametrize(
    "command,script",
    [("train", "cifar_train_mentornet"), ("prepare", "prepare_data")],
)
def test_a_command_is_the_script(command, script):
    """Text, flags and defaults are the same; only the name differs."""
    _, own = run(COMMAND, command, "--help")
    _, script_help = run(f"code/{script}.py", "--help")
    assert f"\nmentornet {command}:\n" in own
    assert own.replace(f"mentornet {command}:", "") == script_help.replace(
        f"{ROOT}/code/{script}.py:", ""
    )


@pytest.mark.parametrize("command", ["clean", "correct"])
def test_commands_without_a_script(command):
    status, output = run(COMMAND, command, "--help")
    assert status == 0
    assert output.startswith(COMMANDS.descriptions()[command])
    assert f"\nmentornet {command}:\n" in output and "\n  --output_dir:" in output


def test_the_plan():
    """Numbers worked by hand."""
    # 50,000 / 20 lies above the student's 1,024; 500 steps are 10.24 epochs, so 11.
    assert planning.plan(50_000, 1024, None) == (1024, 537)
    # 1,617 / 20 = 80.85, so 64; 500 steps are 19.8 epochs, so 20.
    assert planning.plan(1617, 1024, None) == (64, 505)
    # 30 / 20 would be batches of 1; 500 steps of 16 are 267 epochs, more than 60.
    assert planning.plan(30, 128, None) == (16, 112)
    assert planning.plan(3, 128, 2) == (3, 2)
    assert planning.plan(3, 128, 1) == (3, 1)
    # 500 steps of 1,024 are 5.12 epochs, fewer than 10; 976.6 steps.
    assert planning.plan(100_000, 1024, None) == (1024, 977)
    # Exactly 20 batches of 64, and exactly 25 epochs; one sample less, and they are of 32.
    assert planning.plan(1280, 1024, None) == (64, 500)
    assert planning.plan(1279, 1024, None) == (32, 520)  # 12.5 epochs, so 13: 519.6 steps.
    shapes = ((64,), (8, 8, 3), (8, 40, 3), (9, 9, 3), (224, 224, 3))
    chosen = ["mlp", "inception", "inception", "airbench93", "airbench93"]
    assert list(map(planning.choose_student, shapes)) == chosen


def test_from_data_to_corrected_records(digits_of_8, tmp_path, monkeypatch, capsys):
    """Stopped in the middle of the training, and called again."""
    images, given, clean = digits_of_8
    source, folder = tmp_path / "own.npz", tmp_path / "all results"
    np.savez(source, images=images, labels=given)
    config = CleanConfig(str(folder), studentnet="mlp", num_epochs=15)
    with monkeypatch.context() as patch:
        # As by a signal: the run ends early, and what it did is saved.
        whole = stages.loop.train
        stopped = lambda run: whole(dataclasses.replace(run, stop_after_step=20))  # noqa: E731
        patch.setattr(stages.loop, "train", stopped)
        with pytest.raises(KeyboardInterrupt):
            stages.clean(str(source), config)
    assert not (folder / "labels.csv").exists()
    summary = stages.clean(str(source), config)
    output = capsys.readouterr().out
    assert "Resuming from" in output and output.endswith(f"\n{summary}")
    correct, again = (shlex.split(line) for line in summary.splitlines()[-2:])
    assert correct[2] == f"--records={folder / 'data/mine/given'}"
    assert again[2:] == [
        f"--flagfile={folder / 'train.flags'}",
        f"--data_dir={folder / 'reviewed'}",
        f"--train_log_dir={folder / 'again/train'}",
    ]
    assert 9 <= len(summary.splitlines()) <= 13
    assert (folder / "summary.txt").read_text() == summary
    assert f"--output_dir='{folder}'/reviewed" in summary  # The name has a blank.
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # A tenth of each class was held out; the others are named by their rows.
    places = np.array([int(row["path"].removeprefix("row ")) for row in rows])
    assert (
        len({*places.tolist()})
        == len(rows)
        == 600 - sum(round(np.sum(given == label) * 0.1) for label in range(10))
    )
    np.testing.assert_array_equal([int(row["given_label"]) for row in rows], given[places])
    suspects = np.array([row["is_label_issue"] == "True" for row in rows])
    wrong = (given != clean)[places]
    assert (suspects & wrong).sum() > 0.8 * max(suspects.sum(), wrong.sum())
    # The proposed records have fewer wrong labels.
    corrections = json.loads((folder / "corrected" / "manifest.json").read_text())["corrections"]
    replaced = np.array([int(row["predicted_label"]) for row in rows])
    accepted = np.array([1 - float(row["label_score"]) for row in rows])
    accepted = np.round(accepted, SCORE_DECIMALS) > corrections["accept_above"]
    assert accepted.sum() == corrections["replaced"] > 100
    assert np.mean(np.where(accepted, replaced, given[places]) != clean[places]) < 0.1
    assert (folder / "labels.html").stat().st_size > 10_000
    assert (folder / "model.keras").stat().st_size > 10_000
    # The file of flags asks for the same training.
    values = flags.FlagValues()
    training_flags.define_training_flags(values)
    training_flags.define_mentornet_flags(values)
    weighting_flags.define_weighting_flag("mentornet", values)
    flags.DEFINE_string("flagfile", None, "", flag_values=values)
    folders: dict[str, Any] = {"data_dir": "records", "train_log_dir": "again"}
    given_flags = [f"--{name}={value}" for name, value in folders.items()]
    values(["train", f"--flagfile={folder / 'train.flags'}", *given_flags])
    data = planning.Data("mine", folder / "data/mine/given", folder / "data/mine/val")
    expected = planning.train_config(data, folder / "train", config)
    assert training_flags.train_config(values) == dataclasses.replace(expected, **folders)
    # Records that were deleted are made again; nothing else changes.
    shutil.rmtree(folder / "data")
    assert stages.clean(str(source), config) == summary
    # What an earlier version did not record is the default.
    asked = json.loads((folder / "clean.json").read_text())
    del asked["skip_bad"], asked["label_column"]
    (folder / "clean.json").write_text(json.dumps(asked))
    with pytest.raises(InputError, match=r"results \(skip_bad was False, is True\)"):
        stages.clean(str(source), dataclasses.replace(config, skip_bad=True))
    # With other settings the folder is rejected.
    with pytest.raises(InputError, match="num_epochs was 15, is 16"):
        stages.clean(str(source), CleanConfig(str(folder), "mlp", 16))


@pytest.mark.parametrize(
    "arrays,flags,part",
    [
        ({"images": np.zeros((1, 8, 8), np.uint8), "labels": [3]}, [], "at least 2 classes"),
        ({"images": np.zeros((4, 8, 8), np.uint8), "labels": [0, 1, -1, 1]}, [], "from 0 on"),
        ({"features": np.full((4, 2), np.nan), "labels": [0, 0, 1, 1]}, [], "must be finite"),
        (
            {"images": np.zeros((4, 8, 8), np.uint8), "labels": [0, 0, 1, 1]},
            ["--studentnet=resnet9"],
            "`studentnet` must be one of",
        ),
        (None, [], "`source` must be an existing file or folder"),
    ],
)
def test_bad_input_leaves_nothing(arrays, flags, part, tmp_path):
    source = tmp_path / "own.npz"
    if arrays is not None:
        np.savez(source, **arrays)
    before = os.listdir(tmp_path)
    status, output = run(COMMAND, "clean", str(source), f"--output_dir={tmp_path}/out", *flags)
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert status == 2 and len(errors) == 1 and part in errors[0], output
    assert "Traceback" not in output
    assert os.listdir(tmp_path) == before


NOISE = NoiseRate(0.25, 0.2, 0.3, np.zeros(2), np.zeros((2, 2)), "nothing")


class NoPandas:
    """An importer that refuses one package."""

    @staticmethod
    def find_spec(name, *_):
        if name == "pandas":
            raise ImportError(name)


@pytest.mark.parametrize("kind", ["fractions", "texts"])
def test_find_label_issues(digits_of_8, monkeypatch, kind):
    """Texts are objects, as in the columns of pandas; whole numbers may be floats; no pandas."""
    images, given, clean = digits_of_8
    samples = images.reshape(600, 64) / 15
    names = np.arange(10.0)
    if kind == "texts":
        names = np.array(["zero", "one", *"23456789"], object)
    else:
        monkeypatch.delitem(sys.modules, "pandas", raising=False)
        monkeypatch.setattr(sys, "meta_path", [NoPandas, *sys.meta_path])
    passes = 20 if kind == "texts" else 1
    found = mentornet.find_label_issues(samples, names[given], num_epochs=passes)
    columns = "is_label_issue label_score given_label predicted_label mean_weight mean_loss"
    assert list(found) == columns.split()
    assert isinstance(found, dict) == (kind == "fractions")
    if kind == "texts":
        low, high = found.attrs["noise_rate_range"]
        assert low <= found.attrs["noise_rate"] <= high
        assert found.attrs["noise_rate"] == pytest.approx((given != clean).mean(), abs=0.05)
    np.testing.assert_array_equal(found["given_label"], names[given])
    suspects, wrong = np.asarray(found["is_label_issue"]), given != clean
    assert suspects.dtype == bool and len(suspects) == 600
    predicted = np.asarray(found["predicted_label"])
    assert np.isin(predicted, names).all()
    scores = np.asarray(found["label_score"])
    assert scores.min() >= 0
    if passes > 1:
        assert (suspects & wrong).sum() > 0.8 * max(suspects.sum(), wrong.sum())
        assert (predicted == names[clean])[suspects & wrong].mean() > 0.8
        assert scores[suspects].max() <= scores[~suspects].min()


def test_not_verbose_is_silent(monkeypatch, capsys):
    """On a terminal, too, where a training shows a progress bar."""

    def columns(samples, texts, folder, config):
        writer = writers.ConsoleWriter(0, 2, "training")
        writer.write_scalars(1, {"mentornet/total_loss": 0.5})
        writer.close()
        return {"given_label": texts, "predicted_label": texts}, NOISE

    monkeypatch.setattr(label_issues, "_columns", columns)
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    mentornet.find_label_issues(np.zeros((4, 3)), [0, 1, 0, 1])
    assert capsys.readouterr() == ("", "")
    mentornet.find_label_issues(np.zeros((4, 3)), [0, 1, 0, 1], verbose=True)
    assert "training" in capsys.readouterr().err


def test_labels_are_returned_as_they_were_given(monkeypatch):
    """Blanks around a text do not make another class, whose first spelling is predicted."""
    given = np.array([" cat", "dog", "cat", "dog "])

    def columns(samples, texts, folder, config):
        return {"given_label": texts, "predicted_label": texts[::-1]}, NOISE

    monkeypatch.setattr(label_issues, "_columns", columns)
    found = mentornet.find_label_issues(np.zeros((4, 3)), given)
    np.testing.assert_array_equal(found["given_label"], given)
    np.testing.assert_array_equal(found["predicted_label"], ["dog", " cat", "dog", " cat"])


def test_another_process_that_begins_while_this_one_prepares(tmp_path, monkeypatch):
    """It wrote its settings, and may have finished: they are not overwritten."""
    config = CleanConfig(str(tmp_path))
    other = json.dumps(stages._asked("digits", CleanConfig(str(tmp_path), seed=1)))

    def prepared(*_):
        (tmp_path / stages._SETTINGS_FILE).write_text(other)

    monkeypatch.setattr(stages, "_prepared", prepared)
    with pytest.raises(InputError, match="holds other results .seed was 1, is 0"):
        stages.clean("digits", config)
    assert (tmp_path / stages._SETTINGS_FILE).read_text() == other


def test_a_folder_whose_files_changed_is_other_data(tmp_path, monkeypatch):
    """But not what `clean` itself writes into it, and not a known data set of its name."""
    monkeypatch.chdir(tmp_path)
    pictures, folder = tmp_path / "pictures", tmp_path / "pictures" / "out"
    for name in ("cat/1.png", "dog/2.png", "out/clean.json"):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (pictures / name).write_text("{}")
    config = CleanConfig(str(folder))
    settings = folder / stages._SETTINGS_FILE
    settings.write_text(json.dumps(stages._asked("pictures", config)))
    (pictures / "cat" / ".DS_Store").write_text("of a file manager")
    (pictures / "corrections.csv").write_text("id")
    stages._check_same(folder, stages._asked("pictures", config))
    (pictures / "cat" / "1.png").rename(pictures / "dog" / "1.png")
    with pytest.raises(InputError, match="holds other results .the source has changed"):
        stages._check_same(folder, stages._asked("pictures", config))
    # Metadata name the images, whatever these are called.
    (pictures / "metadata.csv").write_text("file_name,label\n1.bin,a\n")
    with_metadata = stages._asked("pictures", config)["sha256"]
    (pictures / "metadata.csv").write_text("file_name,label\n1.bin,b\n")
    relabelled = stages._asked("pictures", config)["sha256"]
    assert relabelled != with_metadata
    (pictures / "1.bin").write_text("pixels")
    assert stages._asked("pictures", config)["sha256"] != relabelled
    before = stages._asked("digits", CleanConfig("digits"))
    (tmp_path / "digits").mkdir()
    assert stages._asked("digits", CleanConfig("digits")) == before


def test_settings_may_change_until_a_training_saved_something(tmp_path):
    """As after a training that failed at once, of which only config.json is left."""
    source = str(tmp_path / "a.npz")
    (tmp_path / "a.npz").touch()
    settings, train = tmp_path / stages._SETTINGS_FILE, tmp_path / "train"
    settings.write_text(json.dumps(stages._asked(source, CleanConfig(str(tmp_path)))))
    train.mkdir()
    (train / "config.json").write_text('{"max_number_of_steps": 9}')
    other = stages._asked(source, CleanConfig(str(tmp_path), studentnet="mlp"))
    stages._check_same(tmp_path, other)
    longer = stages._asked(source, CleanConfig(str(tmp_path), num_epochs=70))
    stages._check_same(tmp_path, longer)
    reseeded = stages._asked(source, CleanConfig(str(tmp_path), seed=1))
    with pytest.raises(InputError, match="seed was 0, is 1"):  # It chose what is held out.
        stages._check_same(tmp_path, reseeded)
    (train / "checkpoint").touch()
    with pytest.raises(InputError, match="studentnet was None, is 'mlp'"):
        stages._check_same(tmp_path, other)


class Missing:
    """Compares and is converted as pandas.NA."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


def test_issues_have_the_index_of_the_labels(monkeypatch):
    """So that they select the right rows of a table that was shuffled."""
    pandas = pytest.importorskip("pandas")
    columns = {"predicted_label": np.array(["0", "1", "0", "1"])}
    monkeypatch.setattr(label_issues, "_columns", lambda *_: (dict(columns), NOISE))
    labels = pandas.Series([0, 1, 0, 1], index=[7, 3, 5, 1])
    samples = pandas.DataFrame(np.zeros((4, 3)), index=list("abcd"))
    for given, expected in (
        ((samples, labels), [7, 3, 5, 1]),
        ((samples, labels.tolist()), list("abcd")),
        ((samples.to_numpy(), labels.tolist()), [0, 1, 2, 3]),
    ):
        found = mentornet.find_label_issues(*given)
        assert found.index.tolist() == expected
        assert found["given_label"].tolist() == [0, 1, 0, 1]


def test_columns_of_a_table_are_numbers(monkeypatch):
    """Of several types, also missing; others are named."""
    pandas, seen = pytest.importorskip("pandas"), list[Any]()

    def columns(samples, labels, *_):
        seen.append(samples)
        return {"given_label": labels, "predicted_label": labels}, NOISE

    monkeypatch.setattr(label_issues, "_columns", columns)
    frame = pandas.DataFrame({"a": [0.5, 1.5], "b": [True, False]})
    frame["c"] = pandas.array([3, None], "Int64")
    mentornet.find_label_issues(frame, ["x", "y"])
    np.testing.assert_array_equal(seen[0], [[0.5, 1, 3], [1.5, 0, np.nan]])
    with pytest.raises(InputError, match=r"columns of numbers.* Received: columns=\['d'\]"):
        mentornet.find_label_issues(frame.assign(d=["u", "v"]), ["x", "y"])


def test_find_label_issues_of_bad_arrays():
    for samples, labels, part in (
        (np.zeros((4, 3)), [0, 1], "one per sample"),
        (np.zeros((4, 3)), [[0, 1, 0, 1]], "one-dimensional"),
        (np.zeros((4, 3)), [0, 1, -1, 1], "whole number from 0 on"),
        (np.zeros((4, 8, 8)), [0, 1, 0, 1], "uint8"),
        (np.zeros((4, 3)), ["a", None, "b", "b"], "`labels` must be a string or.*labels=None"),
        (np.zeros((4, 3)), [1, 0, np.nan, 1], "`labels` must be a string or.*labels=nan"),
        (np.zeros((4, 3)), np.array(["a", Missing(), "b", "b"], object), "must be a string or"),
        (np.array([["x", 1.0]] * 4, object), [0, 1, 0, 1], "features.* of numbers.*'object'"),
        (np.full((4, 3), np.nan), [0, 1, 0, 1], "^the arrays, features, row 0, column 0: features"),
    ):
        with pytest.raises(InputError, match=part):
            mentornet.find_label_issues(samples, labels)


def test_the_run_that_ranks(tmp_path):
    manifest = {"image_shape": [8, 8, 3], "num_examples": 1617}
    data: Any = types.SimpleNamespace(name="mine", train=pathlib.Path("given"), manifest=manifest)
    tiny = planning.train_config(data, pathlib.Path("t"), CleanConfig("out", seed=4))
    assert (tiny.data_dir, tiny.train_log_dir, tiny.dataset_name) == ("given", "t", "mine")
    assert (tiny.studentnet, tiny.batch_size, tiny.max_number_of_steps) == ("inception", 64, 505)
    assert tiny.augment is False and tiny.record_sample_weights
    assert (tiny.seed, tiny.max_to_keep, tiny.save_interval_secs) == (4, 1, 60)
    assert tiny.trained_mentornet_dir == "mentornet_pd"
    assert tiny.weighting == WeightingConfig("auto", "auto", example_dropout_rates="0,100")
    stages._write_flags(tiny, tmp_path)
    assert "_dir=given" not in (tmp_path / "train.flags").read_text()
    manifest["image_shape"] = [9, 9, 3]
    usual = planning.train_config(data, pathlib.Path("t"), CleanConfig("out", num_epochs=2))
    assert (usual.studentnet, usual.augment) == ("airbench93", None)
    assert usual.max_number_of_steps == 51  # 2 * 1,617 / 64 = 50.5.
    manifest |= {"image_shape": [8, 8, 3], "num_examples": 100_000}
    large = planning.train_config(data, pathlib.Path("t"), CleanConfig("out"))
    assert (large.batch_size, large.max_number_of_steps) == (128, 7812)


def test_the_manifest_of_the_data(tmp_path):
    data = planning.Data("mine", tmp_path, tmp_path / "val")
    assert data.manifest == {}
    (tmp_path / "manifest.json").write_text('{"num_examples": 7}')
    assert data.manifest == {"num_examples": 7}


def test_how_the_source_is_read(tmp_path, monkeypatch):
    asked: list[PrepareConfig] = []

    def prepare(config):
        asked.append(config)
        return {}

    monkeypatch.setattr(stages.prepare, "prepare", prepare)
    values: dict[str, Any] = {"seed": 3, "image_size": 16, "label_column": "kind", "skip_bad": True}
    config = CleanConfig(str(tmp_path), **values)
    data = stages._prepared("a.csv", tmp_path, config)
    (made,) = asked
    assert {name: getattr(made, name) for name in values} == values
    assert (made.dataset_name, made.source, made.test_share) == ("mine", "a.csv", 0.1)
    assert (data.name, data.train, data.test) == ("mine", made.train_folder, made.test_folder)
    for folder in (data.train, data.test):
        folder.mkdir(parents=True)
    stages._prepared("a.csv", tmp_path, config)  # Without settings they may be unfinished.
    (tmp_path / stages._SETTINGS_FILE).touch()
    stages._prepared("a.csv", tmp_path, config)
    assert len(asked) == 2
    own = tmp_path / "digits"
    assert stages._prepared("digits", own, CleanConfig(str(own))).name == "digits"
    assert (asked[2].dataset_name, asked[2].test_share) == ("digits", PrepareConfig.test_share)


@pytest.mark.parametrize(("number", "above"), [(0, 0.75), (1, 0.25), (3, 0.0)])
def test_all_suspects_are_corrected_and_no_other(tmp_path, monkeypatch, number, above):
    """Those whose score is above that of the first sample that is none."""
    order, asked = np.array([2, 0, 1]), []

    def correct(config):
        asked.append(config)
        return {"corrections": {"replaced": number}}

    monkeypatch.setattr(stages.correct, "correct", correct)
    score = np.array([0.25, 0.125, 0.75])
    scores: Any = types.SimpleNamespace(order=order, suspects=order[:number], score=score)
    data = planning.Data("mine", tmp_path / "given", tmp_path / "val")
    assert stages._correct(data, tmp_path, scores) == {"replaced": number}
    assert dataclasses.asdict(asked[0]) == {
        "records": str(tmp_path / "given"),
        "corrections": str(tmp_path / "labels.csv"),
        "output_dir": str(tmp_path / "corrected"),
        "accept_above": above,
        "dataset_name": "mine",
    }


def test_what_clean_writes_beside_metadata_is_not_its_source(tmp_path):
    """Such a folder depends on the files that they name."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "metadata.csv").write_text("file_name,label\n1.bin,a\n2.bin,b\n")
    (pictures / "1.bin").write_text("pixels")
    config = CleanConfig(str(pictures / "out"))
    source = str(pictures / ".." / "pictures")
    before = stages._asked(source, config)
    assert before["source"] == str(pictures)
    (pictures / "out" / "data").mkdir(parents=True)
    assert stages._asked(source, config) == before
    (pictures / "out" / "data" / "labels.csv").write_text("id\n")
    assert stages._asked(source, config) == before
    (pictures / "2.bin").write_text("pixels")
    assert stages._asked(source, config) != before


def test_a_file_that_changed_is_other_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, settings = tmp_path / "a.npz", tmp_path / stages._SETTINGS_FILE
    config = CleanConfig(str(tmp_path))
    source.write_bytes(b"one")
    asked = stages._asked(str(source), config)
    settings.write_text(json.dumps(asked))
    stages._check_same(tmp_path, asked)
    source.write_bytes(b"two")
    with pytest.raises(InputError, match="holds other results .the source has changed"):
        stages._check_same(tmp_path, stages._asked(str(source), config))
    named = stages._asked("npz:a.npz", config)  # With the source's name before its path.
    expected = stages._asked(str(source), config) | {"source": f"npz:{source}"}
    assert named == expected and "sha256" in expected
    (tmp_path / "mnist").mkdir()  # Not what tfds reads.
    found = stages._asked("tfds:mnist", config)
    assert found["source"] == "tfds:mnist" and "sha256" not in found
    settings.write_text("[]")  # Of another program, perhaps.
    with pytest.raises(InputError, match="holds other results .source was None"):
        stages._check_same(tmp_path, asked)


def test_things_without_a_length_are_refused():
    for samples, labels in ((None, None), (iter("ab"), iter("ab"))):
        with pytest.raises(InputError, match="`labels` must be one-dimensional"):
            mentornet.find_label_issues(samples, labels)


def test_the_summary_by_hand(tmp_path, monkeypatch):
    held_out = {"num_examples": 8, "examples_per_label": [3, 3, 2]}
    manifests = {tmp_path / "given": {"num_examples": 7}, tmp_path / "val": held_out}
    monkeypatch.setattr(stages, "read_manifest", manifests.get)
    by_class = np.array([0.5, 0.25, 0.0])
    noise = NoiseRate(0.25, 0.25, 0.25, by_class, np.stack([by_class] * 2, axis=1), "a test")
    info = DatasetInfo("mine", 3, ("a", "b", "c"))
    examples = types.SimpleNamespace(labels=np.array([0, 0, 0, 1, 1, 2, 2]))
    scores: Any = types.SimpleNamespace(
        score=np.zeros(7), info=info, noise=noise, examples=examples, suspects=np.arange(2)
    )
    data = planning.Data("mine", tmp_path / "given", tmp_path / "val")
    facts: dict[str, Any] = {"kept": 1, "replaced": 4, "left_out": 0}
    lines = stages._summary(data, tmp_path, scores, 0.875, facts).splitlines()
    assert lines[:4] == [
        "7 samples of 3 classes; 8 more were held out.",
        "Labels estimated wrong: 25.0%, from a test.",
        "Worst classes: a 50.0%, b 25.0%, c 0.0%.",
        "Agreement with the held-out labels: 87.5%. They are as noisy as the others, "
        "unless clean ones are known.",
    ]
    assert "records in which 4 suspects have" in lines[6]
    assert lines[5].endswith("labels.html: review the suspects in a browser")
    assert f"--records={tmp_path / 'given'} " in lines[9]
    facts |= {"classes_not_corrected": ["b", "c"]}
    monkeypatch.setattr(stages, "NUM_SHOWN", 1)
    lines = stages._summary(data, tmp_path, scores, 0.7, facts).splitlines()
    assert lines[4].startswith("WARNING: the most frequent class alone has 37.5% of them")
    assert lines[5].startswith("WARNING: the student does not know b, c; the labels of such")
    more = f"(all of them: mentornet report {tmp_path} --num_shown=2)"
    assert lines[7].endswith(f"review 1 of the 2 suspects {more} in a browser")


def test_how_much_better_than_the_most_frequent_class():
    """Two standard deviations of a share of 36 % of 576 labels are 4 points."""
    for accuracy, is_doubtful in ((0.36, True), (0.39, True), (0.41, False)):
        assert bool(stages._doubts(accuracy, [208, 200, 168], 0.5, [])) == is_doubtful


def test_more_is_contradicted_than_is_estimated_to_be_wrong():
    for accuracy, most_wrong, is_doubtful in ((0.6, 0.2, True), (0.6, 0.3, False), (0.9, 0, False)):
        lines = stages._doubts(accuracy, [30, 30, 40], most_wrong, [])
        assert bool(lines) == is_doubtful
    (line,) = stages._doubts(0.61, [30, 30, 40], 0.0, [])
    assert line.startswith("WARNING: the student contradicts 39.0% of them, far more than are")


@pytest.mark.parametrize("listed", [False, True])
def test_results_beside_the_pictures(tmp_path, listed):
    """What is written there does not count, but other pictures do; also if metadata list them."""
    pictures = tmp_path / "pictures"
    (pictures / "cat").mkdir(parents=True)
    (pictures / "cat" / "1.png").write_text("x")
    if listed:
        names = "".join(f"cat/{name}.png,cat\n" for name in (1, tmp_path.name, "pictures", "out"))
        (pictures / "metadata.csv").write_text(f"file_name,label\n{names}")
    for output in (tmp_path, pictures, pictures / "out"):
        config = CleanConfig(str(output))
        before = stages._asked(str(pictures), config)
        output.mkdir(exist_ok=True)
        for name in ("clean.json", "labels.csv", "model.keras"):
            (output / name).write_text("x")
        assert stages._asked(str(pictures), config) == before
        (pictures / "cat" / f"{output.name}.png").write_text("x")
        assert stages._asked(str(pictures), config) != before
    before = stages._asked(str(pictures), config)
    (pictures / "out" / "3.png").write_text("x")
    assert stages._asked(str(pictures), config) == before


def test_no_pass_ranks_nothing():
    with pytest.raises(InputError, match="`num_epochs` must be at least 1"):
        CleanConfig("out", num_epochs=0)


def test_the_results_may_be_moved():
    first, second = (stages._asked("digits", CleanConfig(folder)) for folder in "ab")
    assert first == second


def test_a_folder_belongs_to_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_prepared", lambda *_: None)
    refused = pytest.raises(InputError, match="`output_dir` must not be used by two processes")
    with files.held(tmp_path, "output_dir"), refused:
        stages.clean("digits", CleanConfig(str(tmp_path)))


def test_what_find_label_issues_trains(monkeypatch):
    asked = []

    def train(run):
        asked.append(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "train", train)
    images, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 2
    with pytest.raises(KeyboardInterrupt):
        mentornet.find_label_issues(images, labels, studentnet="resnet8", num_epochs=3, seed=7)
    (run,) = asked
    assert (run.studentnet, run.max_number_of_steps, run.seed) == ("resnet8", 8, 7)
    assert (run.augment, run.deterministic) == (False, False)


@pytest.mark.parametrize(("variable", "gpus"), [(None, "0"), ("2,3", "2,3"), ("", "")])
def test_the_gpus_of_clean(monkeypatch, variable, gpus):
    """It has no flag for them: those that a scheduler assigned, or else the first."""
    asked: list[Any] = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable or "")
    if variable is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(clean.config_flags, "read_flags", lambda cls: {"output_dir": "out"})
    monkeypatch.setattr(clean.script, "load_tensorflow", lambda *given: asked.append(given))
    monkeypatch.setattr(stages, "clean", lambda *given: asked.append(given))
    clean.main("digits")
    assert asked == [(gpus,), ("digits", CleanConfig("out"))]
    with pytest.raises(InputError, match="`source` must be an existing file or folder"):
        clean.main("no/such/folder")
    assert len(asked) == 2  # Before TensorFlow is loaded.


@pytest.mark.parametrize(
    ("arguments", "status"), [([], 2), ([""], 2), (["help"], 0), (["-h"], 0), (["--help"], 0)]
)
def test_without_a_command_the_list_is_an_error(monkeypatch, capsys, arguments, status):
    monkeypatch.setattr(sys, "argv", ["mentornet", *arguments])
    with pytest.raises(SystemExit) as ended:
        front.main()
    assert ended.value.code == status
    assert "\nusage: mentornet COMMAND " in capsys.readouterr().out


def test_the_stages_by_hand(tmp_path, monkeypatch, capsys):
    asked: list[Any] = []
    run: Any = types.SimpleNamespace(max_number_of_steps=7, batch_size=2, studentnet="mlp")
    run.train_log_dir = "log"

    def replace(module, name, result=None):
        def stage(*given):
            asked.append((name, *given))
            return result

        monkeypatch.setattr(module, name, stage)

    replace(stages, "_prepared", "data")
    replace(planning, "train_config", run)
    replace(stages, "_write_flags")
    replace(stages, "train")
    replace(stages, "_evaluate", 0.75)
    scores = types.SimpleNamespace(notes=("one: ranked by its history up to step 20",))
    replace(stages.label_errors, "score_labels", scores)
    replace(stages.label_files, "write")
    replace(stages, "_correct", "facts")
    replace(stages.export, "load_trained", "trained")
    replace(stages.export, "export")
    replace(stages, "_summary", "Done.\n")
    config = CleanConfig(str(tmp_path))
    assert stages.clean("digits", config) == "Done.\n"
    assert asked == [
        ("_prepared", "digits", tmp_path, config),
        ("train_config", "data", tmp_path / "train", config),
        ("_write_flags", run, tmp_path),
        ("train", run),
        ("_evaluate", "data", tmp_path),
        ("score_labels", [str(tmp_path)]),
        ("write", scores, tmp_path, 500),
        ("_correct", "data", tmp_path, scores),
        ("load_trained", "log"),
        ("export", "trained", str(tmp_path / "model.keras"), "keras"),
        ("_summary", "data", tmp_path, scores, 0.75, "facts"),
    ]
    assert (tmp_path / "summary.txt").read_text() == "Done.\n"
    printed = capsys.readouterr().out
    assert "[4/5] Ranking the labels.\none: ranked by its history up to step 20\n" in printed
    assert printed.endswith("\nDone.\n")


def test_a_picture_that_was_replaced_is_other_data(tmp_path):
    """In a class folder, or named by a table; a table alone has no list of files."""
    picture, config = tmp_path / "cat" / "1.png", CleanConfig(str(tmp_path / "out"))
    picture.parent.mkdir()
    picture.write_text("one")
    table, rows = tmp_path / "own.csv", tmp_path / "rows.csv"
    table.write_text("path,label\ncat/1.png,cat\n")
    rows.write_text("path,label\ncat/2.png,cat\n")
    before = [stages._asked(str(source), config) for source in (tmp_path, table, rows)]
    picture.write_text("other")
    after = [stages._asked(str(source), config) for source in (tmp_path, table, rows)]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]
    assert before[1]["sha256"] == after[1]["sha256"]
    earlier = {name: value for name, value in before[1].items() if name != "named"}
    for settings, fits in ((before[1], True), (after[1], False), (earlier, True)):
        (tmp_path / stages._SETTINGS_FILE).write_text(json.dumps(settings))
        if fits:
            stages._check_same(tmp_path, before[1])
        else:
            with pytest.raises(InputError, match="the source has changed"):
                stages._check_same(tmp_path, before[1])
    table.write_bytes(b"\xff,label\n")  # Whoever reads it says what is wrong.
    assert "named" not in stages._asked(str(table), config)


def test_labels_that_changed_in_json_lines_are_other_data(tmp_path):
    def checksum(label):
        row = json.dumps({"file_name": "1.png", "label": label})
        (tmp_path / "metadata.jsonl").write_text(row)
        return stages._asked(str(tmp_path), CleanConfig(str(tmp_path / "out")))["sha256"]

    assert checksum("a") != checksum("b")


def test_a_picture_whose_name_has_blanks_around_it_is_listed(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,label\n 1.png,a\n")
    config = CleanConfig(str(tmp_path / "out"))
    before = stages._asked(str(tmp_path), config)
    (tmp_path / "1.png").write_text("pixels")
    assert stages._asked(str(tmp_path), config) != before


def test_what_was_left_out_is_told(tmp_path, monkeypatch, capsys):
    facts = {"share_of_wrong_labels": None, "num_examples": 8, "num_classes": 2}
    monkeypatch.setattr(stages.prepare, "prepare", lambda config: {str(tmp_path): facts})
    (tmp_path / "unreadable.txt").write_text("a.png: cut off\n")
    stages._prepared("a.csv", tmp_path, CleanConfig(str(tmp_path)))
    assert "unreadable.txt (lines: 1); the first line is: a.png: cut off" in capsys.readouterr().out


def test_the_threshold_is_rounded_as_the_scores_are(tmp_path, monkeypatch):
    asked = []

    def correct(config):
        asked.append(config)
        return {"corrections": {}}

    monkeypatch.setattr(stages.correct, "correct", correct)
    score = np.array([0.5, 0.12345678906])
    scores: Any = types.SimpleNamespace(order=np.arange(2), suspects=np.arange(1), score=score)
    stages._correct(planning.Data("mine", tmp_path / "given", tmp_path / "val"), tmp_path, scores)
    assert asked[0].accept_above == 0.1234567891


def test_features_may_be_true_or_false(monkeypatch):
    columns = lambda samples, texts, *_: ({"predicted_label": texts}, NOISE)  # noqa: E731
    monkeypatch.setattr(label_issues, "_columns", columns)
    found = mentornet.find_label_issues(np.zeros((4, 3), bool), [0, 1, 0, 1])
    assert list(found["given_label"]) == [0, 1, 0, 1]
