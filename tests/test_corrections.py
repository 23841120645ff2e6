"""Corrections: decisions in a file, the corrected records, and files that are rejected."""

import dataclasses
import hashlib
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from helpers import run

from mentornet import InputError
from mentornet.cli import config_flags
from mentornet.cli.commands import prepare as prepare_command
from mentornet.core.safe_csv import to_csv
from mentornet.datasets import records
from mentornet.datasets.catalog import DatasetInfo, dataset_info
from mentornet.datasets.correct import FLAGS_GROUP, CorrectConfig, correct
from mentornet.datasets.corrections import NOT_USABLE, Known, read_corrections
from mentornet.datasets.file_list import read_paths
from mentornet.datasets.prepare import PrepareConfig, prepare

HEADER = ("id", "path", "given_label", "corrected_label", "score")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """300 digits, of which some are trusted."""
    folder = tmp_path_factory.mktemp("data")
    config = PrepareConfig("digits", str(folder), noise_fraction=0.4, num_train=300, num_trusted=20)
    prepare(config)
    return config.train_folder


def read(folder, name="digits"):
    return records.read_examples(str(folder), dataset_info(name, folder), "train")


def write(path, rows, header=HEADER):
    path.write_text(to_csv([header, *rows]), encoding="utf-8")
    return str(path)


def test_kept_replaced_left_out(tmp_path, prepared):
    """Ten kept, ten replaced, five left out; everything else is unchanged, to the byte."""
    before = read(prepared)
    rows, labels = [], before.labels.copy()
    for i in range(25):
        corrected = (before.labels[i] + 1) % 10 if 10 <= i < 20 else before.labels[i]
        labels[i] = corrected
        rows.append((before.ids[i], "", before.labels[i], corrected if i < 20 else "", "0.9"))
    rows.append(rows[3])  # A duplicate that agrees.
    path = write(tmp_path / "corrections.csv", rows)
    target = tmp_path / "made" / "corrected"
    manifest = correct(CorrectConfig(str(prepared), path, str(target)))
    facts = manifest["corrections"]
    counts = {name: facts[name] for name in ("kept", "replaced", "left_out", "undecided")}
    assert counts == {"kept": 10, "replaced": 10, "left_out": 5, "undecided": 275}
    assert facts["sha256"] == hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    used = np.r_[0:20, 25:300]
    after = read(target)
    for name in ("ids", "clean_labels", "trusted"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[used])
    np.testing.assert_array_equal(after.labels, labels[used])
    np.testing.assert_array_equal(after.images, before.images.numpy()[used])
    wrong = np.mean(labels[used] != before.clean_labels[used])
    assert manifest["share_of_wrong_labels"] == pytest.approx(wrong)
    share = np.mean(before.labels != before.clean_labels)
    assert facts["share_of_wrong_labels_before"] == pytest.approx(share)
    assert manifest["num_examples"] == sum(manifest["examples_per_label"]) == 295
    assert json.loads((target / "manifest.json").read_text()) == manifest
    old = json.loads((prepared / "manifest.json").read_text())
    assert {*manifest} - {*old} == {"corrections"} and manifest["config"] == old["config"]
    features = [
        [
            tf.train.Example.FromString(x.numpy()).features.feature
            for x in tf.data.TFRecordDataset(f)
        ]
        for f in (next(prepared.glob("digits_train-*")), next(target.glob("digits_train-*")))
    ]
    for i, new in zip(used, features[1], strict=True):
        for key in {*features[0][i]} - {"image/class/label"}:
            assert new[key] == features[0][i][key]
    # Repeating the same corrections keeps the folder; others do not overwrite it.
    stamp = (target / "manifest.json").stat().st_mtime_ns
    assert correct(CorrectConfig(str(prepared), path, str(target))) == manifest
    assert (target / "manifest.json").stat().st_mtime_ns == stamp
    other = write(tmp_path / "other.csv", rows[:4])
    with pytest.raises(InputError, match="`output_dir` holds other data"):
        correct(CorrectConfig(str(prepared), other, str(target)))
    # Round two reverts a label of the first; the manifest records both rounds.
    again = [(before.ids[10], "", labels[10], before.labels[10], "0.5")]
    path = write(tmp_path / "second.csv", again)
    second = correct(CorrectConfig(str(target), path, str(tmp_path / "second")))
    assert second["corrections"]["previous"] == facts
    assert read(tmp_path / "second").labels[10] == before.labels[10]
    with pytest.raises(InputError, match="belongs to another data set or to other labels"):
        correct(CorrectConfig(str(prepared), path, str(tmp_path / "third")))


def test_of_a_report(tmp_path, prepared):
    """The command, with labels.csv: replaced where the confidence lies above the threshold."""
    before = read(prepared)
    confidence = np.random.default_rng(0).integers(0, 100_001, len(before)) / 1e5
    confidence[:4] = [0.95, 0.95001, 1, 0]
    rows = [
        (number, True, f"{1 - sure:.5f}", given, clean)
        for number, sure, given, clean in zip(
            before.ids, confidence, before.labels, before.clean_labels, strict=True
        )
    ]
    header = ("id", "is_label_issue", "label_score", "given_label", "predicted_label")
    path = write(tmp_path / "labels.csv", rows, header)
    flags = [f"--records={prepared}", f"--corrections={path}", "--accept_above=0.95"]
    status, output = run("code/prepare_data.py", *flags, f"--output_dir={tmp_path / 'auto'}")
    assert status == 0, output
    accepted = confidence > 0.95
    assert not accepted[0] and accepted[1]
    labels = np.where(accepted, before.clean_labels, before.labels)
    np.testing.assert_array_equal(read(tmp_path / "auto").labels, labels)
    replaced = int((accepted & (before.labels != before.clean_labels)).sum())
    counts = f"{accepted.sum() - replaced} kept, {replaced} replaced, 0 left out, "
    assert f"{counts}{(~accepted).sum()} undecided" in output
    share = np.mean(labels != before.clean_labels)
    assert f"{tmp_path / 'auto'}: 300 images, 10 classes, {share:.2%} of the labels wrong" in output
    share = np.mean(before.labels != before.clean_labels)
    assert f" undecided; {share:.2%} of the labels were wrong before\n" in output
    flags[-1] = "--accept_above=0.5"
    status, output = run("code/prepare_data.py", *flags, f"--output_dir={tmp_path / 'auto'}")
    assert status == 2 and "`output_dir` holds other data" in output


def test_predictions_do_not_erase_a_class(tmp_path, prepared, capsys):
    """All threes would become fives, and all but one in ten fours."""
    before = read(prepared)
    predicted = np.where(before.labels == 3, 5, before.labels)
    fours = np.flatnonzero(before.labels == 4)
    kept = -(-len(fours) // 10)
    predicted[fours[kept:]] = 9
    rows = [
        (number, True, "0.00000", given, suggested)
        for number, given, suggested in zip(before.ids, before.labels, predicted, strict=True)
    ]
    header = ("id", "is_label_issue", "label_score", "given_label", "predicted_label")
    path = write(tmp_path / "labels.csv", rows, header)
    asked = CorrectConfig(str(prepared), str(path), str(tmp_path / "auto"), 0.5, "digits")
    facts = correct(asked)["corrections"]
    assert facts["classes_not_corrected"] == ["3"]
    assert "WARNING: 3: hardly a label would be left" in capsys.readouterr().out
    expected = np.where(before.labels == 3, 3, predicted)
    np.testing.assert_array_equal(read(tmp_path / "auto").labels, expected)
    assert facts["undecided"] == np.sum(before.labels == 3)
    # People may decide so.
    fives = [(number, given, 5) for number, given in zip(before.ids, before.labels, strict=True)]
    path = write(tmp_path / "c.csv", fives, ("id", "given_label", "corrected_label"))
    asked = CorrectConfig(str(prepared), str(path), str(tmp_path / "all"))
    assert correct(asked)["corrections"]["classes_not_corrected"] == []
    assert set(read(tmp_path / "all").labels) == {5}
    asked = CorrectConfig(str(prepared.parent), str(path), str(tmp_path / "none"))
    with pytest.raises(InputError, match="`records` must be a folder of training records"):
        correct(asked)


def test_records_of_the_release(tmp_path, prepared):
    """In two files, without ids and manifest: remaining samples keep their positions as ids."""
    source = tmp_path / "released"
    source.mkdir()
    rows = [x.numpy() for x in tf.data.TFRecordDataset(str(next(prepared.glob("digits_train-*"))))]
    for number, part in enumerate((rows[:7], rows[7:20])):
        with tf.io.TFRecordWriter(str(source / f"digits_train-0000{number}-of-00002")) as writer:
            for row in part:
                example = tf.train.Example.FromString(row)
                for key in ("image/id", "image/class/clean_label", "image/trusted"):
                    example.features.feature.pop(key, None)
                writer.write(example.SerializeToString())
    given = read(source).labels
    decided = [(2, "", given[2], "", 1), (9, "", given[9], (given[9] + 5) % 10, 1)]
    path = write(tmp_path / "c.csv", decided)
    target = tmp_path / "corrected"
    manifest = correct(CorrectConfig(str(source), path, str(target), dataset_name="digits"))
    assert manifest["share_of_wrong_labels"] is None and len(manifest["sha256"]) == 2
    after = read(target)
    assert after.ids.tolist() == [0, 1, *range(3, 20)]
    assert after.labels[after.ids == 9] == (given[9] + 5) % 10


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("{id}", "", "{given}", "{given}", 1), (5000, "", "1", "1", 1)], "line 3: `id` must be"),
        ([("{id}", "", "{other}", "1", 1)], "`given_label` of id .* another data set"),
        ([("{id}", "", "cat", "1", 1)], "`given_label` must be a class of the records"),
        ([("{id}", "", "{given}", "dog", 1)], "`corrected_label` must be a class of .*dog"),
        ([("{id}", "", "{given}", "=1+1", 1)], "`corrected_label` must be a class of .*'=1.1'"),
        ([("=1+1", "", "{given}", "1", 1)], "`id` must be the id of a record.*'=1.1'"),
        ([("{id}", "", "{given}", "x" * 9999, 1)], "must be a class of .{1050,1200}$"),
        (
            [("{id}", "", "{given}", "1", 1), ("{id}", "", "{given}", "", 1)],
            "must not have conflicting labels",
        ),
        ([("{id}", "", "{given}")], "must have 5 cells"),
        (["no table"], "must have 5 cells"),
    ],
)
def test_files_that_are_refused(tmp_path, prepared, rows, message):
    before = read(prepared)
    given = int(before.labels[0])
    facts = {"id": before.ids[0], "given": given, "other": (given + 1) % 10}
    rows = [[str(cell).format(**facts) for cell in row] for row in rows]
    path = write(tmp_path / "c.csv", rows)
    with pytest.raises(InputError, match=message):
        correct(CorrectConfig(str(prepared), path, str(tmp_path / "made")))
    assert [file.name for file in tmp_path.iterdir()] == ["c.csv"]


def test_what_else_is_refused(tmp_path, prepared):
    """Each gives a one-line error, and nothing is written."""
    before = read(prepared)
    good = write(tmp_path / "c.csv", [(before.ids[0], "", before.labels[0], "", 1)])
    everything = [(i, "", label, "", 1) for i, label in zip(before.ids, before.labels, strict=True)]
    everything = write(tmp_path / "all.csv", everything)
    report = ("id", "label_score", "given_label", "predicted_label")
    report = write(tmp_path / "labels.csv", [(before.ids[0], "x", before.labels[0], "1")], report)
    encoded = tmp_path / "cp1252.csv"
    encoded.write_bytes(b"id,path,given_label,corrected_label,score\n1,\xe9")
    semicolons = tmp_path / "semicolons.csv"
    semicolons.write_text(pathlib.Path(good).read_text().replace(",", ";"))
    (tmp_path / "there").mkdir()
    made = str(tmp_path / "made")
    for path, output_dir, above, message in (
        (tmp_path / "none.csv", made, None, "none.csv cannot be read: No such file"),
        (report, made, None, "a report's labels.csv needs `accept_above`"),
        (report, made, 0.5, "`label_score` must lie in 0..1"),
        (good, made, 0.9, "must have the columns id, given_label, predicted_label, label_score"),
        (good, made, 95, "`accept_above` must lie in 0..1"),
        (encoded, made, None, "line 2: must be UTF-8"),
        (semicolons, made, None, "separated by commas. Received"),
        (good, str(tmp_path / "there"), None, "`output_dir` exists and has no manifest"),
        (good, str(prepared), None, "`output_dir` holds other data"),
        (everything, made, None, "must leave at least one usable sample"),
    ):
        with pytest.raises(InputError, match=message):
            correct(CorrectConfig(str(prepared), str(path), output_dir, above))
    names = {"c.csv", "labels.csv", "cp1252.csv", "semicolons.csv", "all.csv", "there"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for flags, message in (
        (
            [f"--output_dir={made}"],
            "`records`, `corrections` and `output_dir` must",
        ),
        ([f"--corrections={good}"], "`corrections` and `output_dir` must be given"),
        (
            [f"--corrections={good}", f"--output_dir={made}", "--seed=3"],
            "`seed` cannot be combined with",
        ),
    ):
        status, output = run("code/prepare_data.py", f"--records={prepared}", *flags)
        assert status == 2 and output.startswith("error: ") and message in output
        assert output.count("\n") == 1


def test_paths_are_compared(tmp_path, prepared):
    """The list of files has only the remaining samples."""
    source = tmp_path / "source"
    shutil.copytree(prepared, source)
    before = read(source)
    listed = ["id,path", *(f'{i},"{i % 10}/{i}, x.png"' for i in before.ids)]
    (source / "files.csv").write_text("\n".join(listed) + "\n")
    first, given = before.ids[0], before.labels[0]
    path = write(tmp_path / "c.csv", [(first, "elsewhere.png", given, "", 1)])
    with pytest.raises(InputError, match="`path` of id .* another data set"):
        correct(CorrectConfig(str(source), path, str(tmp_path / "made")))
    path = write(tmp_path / "c.csv", [(first, f"{first % 10}/{first}, x.png", given, "", 1)])
    correct(CorrectConfig(str(source), path, str(tmp_path / "made")))
    lines = (tmp_path / "made" / "files.csv").read_text().splitlines()
    assert len(lines) == 300 and not any(line.startswith(f"{first},") for line in lines)
    kept = before.ids[1:]
    assert read_paths(tmp_path / "made", kept) == {i: f"{i % 10}/{i}, x.png" for i in kept}


def test_a_list_of_files_of_another_form(tmp_path, prepared):
    """With the columns the other way round and a blank line, as a spreadsheet may leave it."""
    source = tmp_path / "source"
    shutil.copytree(prepared, source)
    before = read(source)
    listed = ["path,id", "", *(f"{i}.png,{i}" for i in before.ids)]
    (source / "files.csv").write_text("\n".join(listed) + "\n")
    first = before.ids[0]
    path = write(tmp_path / "c.csv", [(first, f"{first}.png", before.labels[0], "", 1)])
    correct(CorrectConfig(str(source), path, str(tmp_path / "made")))
    lines = (tmp_path / "made" / "files.csv").read_text().splitlines()
    assert lines == ["id,path", *(f"{i},{i}.png" for i in before.ids[1:])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number,path\n0,a.png\n", "must have the columns `id`, a number, and `path`"),
        ("id,path\nzero,a.png\n", "must have the columns `id`, a number, and `path`"),
        ("id,path\n0,a.png\n2,c.png\n", r"name the file of each record. Received: missing=\[1\]"),
        ("id,path\n0,a.png\n1\n", r"name the file of each record. Received: missing=\[1\]"),
    ],
)
def test_a_damaged_list_of_files(tmp_path, text, message):
    (tmp_path / "files.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_paths(tmp_path, np.arange(2))


PETS = DatasetInfo("pets", 3, ("cat", "dog", "eel"))
KNOWN = Known(PETS, np.array([7, 3, 12]), np.array([0, 1, 2]), {7: "a.png", 3: "b.png", 12: "c"})


def decide(text, accept_above=None, known=KNOWN):
    return read_corrections(text.encode(), "c.csv", known, accept_above)


def test_decisions_are_ordered_by_position():
    """Blanks around an id, no path, and no column of paths do not matter."""
    rows = "id,path,given_label,corrected_label\n12,,eel,cat\n 3 ,b.png,dog,\n7,a.png,cat,cat\n"
    assert decide(rows).tolist() == [[0, 0], [1, NOT_USABLE], [2, 0]]
    header = "id,given_label,corrected_label\n"
    assert decide(f"{header}3,dog,eel\n").tolist() == [[1, 2]]
    assert decide(header).shape == (0, 2)
    unknown = dataclasses.replace(KNOWN, paths={})
    rows = "id,path,given_label,corrected_label\n7,elsewhere.png,cat,dog\n"
    assert decide(rows, known=unknown).tolist() == [[0, 1]]


REPORT = "id,given_label,predicted_label,label_score\n"


def test_scores_of_a_report():
    """1 - 0.7 is 0.30000000000000004 in floating point, and not above 0.3."""
    rows = f"{REPORT}3,dog,cat,0.7\n7,cat,eel,0.6999999999\n"
    assert decide(rows, 0.3).tolist() == [[0, 2]]
    for score in ("-0.1", "1.1", "nan", "x"):
        with pytest.raises(InputError, match="line 2: `label_score` must lie in 0..1"):
            decide(f"{REPORT}3,dog,cat,{score}\n", 0.3)
    with pytest.raises(InputError, match="conflicting labels.*predicted_label='dog'"):
        decide(f"{REPORT}7,cat,eel,0.1\n7,cat,dog,0.1\n", 0.3)
    assert decide(f"{REPORT}7,cat,eel,0.1\n7,cat,dog,0.9\n", 0.3).tolist() == [[0, 2]]


def test_records_that_cannot_be_told_apart():
    twice = dataclasses.replace(KNOWN, ids=np.array([7, 7, 12]))
    with pytest.raises(InputError, match="ids must be distinct"):
        decide("id,given_label,corrected_label\n", known=twice)
    same = dataclasses.replace(PETS, class_names=("cat", "cat", "eel"))
    with pytest.raises(InputError, match="classes must be distinct"):
        decide("id,given_label,corrected_label\n", known=dataclasses.replace(KNOWN, info=same))


def test_the_same_corrections_of_other_records(tmp_path, prepared):
    """What they made of the first is not returned for the second."""
    before, none = read(prepared), write(tmp_path / "none.csv", [])
    given, first, made = before.labels[0], str(tmp_path / "first"), str(tmp_path / "made")
    one = write(tmp_path / "one.csv", [(before.ids[0], "", given, (given + 1) % 10, 1)])
    correct(CorrectConfig(str(prepared), one, first))
    correct(CorrectConfig(str(prepared), none, made))
    with pytest.raises(InputError, match="`output_dir` holds other data"):
        correct(CorrectConfig(first, none, made))


def test_corrections_of_fine_labels(tmp_path):
    """CIFAR-100's records also have coarse labels, which stay; the new file's checksum is named."""
    source, target = tmp_path / "source", tmp_path / "made"
    source.mkdir()
    name, images = "cifar100_train-00000-of-00001", np.zeros((3, 8, 8, 3), np.uint8)
    columns = {"image/class/fine_label": [7, 42, 99], "image/class/coarse_label": [1, 2, 3]}
    records.write_records(source / name, images, {k: np.array(v) for k, v in columns.items()})
    path = write(tmp_path / "c.csv", [(1, "", 42, 43, 1), (2, "", 99, "", 1)])
    manifest = correct(CorrectConfig(str(source), path, str(target), dataset_name="cifar100"))
    assert read(target, "cifar100").labels.tolist() == [7, 43]
    rows = [x.numpy() for x in tf.data.TFRecordDataset(str(target / name))]
    features = [tf.train.Example.FromString(row).features.feature for row in rows]
    coarse = [each["image/class/coarse_label"].int64_list.value[0] for each in features]
    assert coarse == [1, 2]
    checksum = hashlib.sha256((target / name).read_bytes()).hexdigest()
    assert manifest["sha256"] == {name: checksum}


@pytest.mark.parametrize(
    "flag", ["records=r", "corrections=c", "accept_above=0.5", "accept_above=0"]
)
def test_each_flag_of_corrections_asks_for_them(monkeypatch, flag):
    """Alone, too: what else is needed is then said."""
    values, asked = absl_flags.FlagValues(), [""]
    texts = {"datasets": "", "sources": "", "noise_types": ""}
    config_flags.define_flags(PrepareConfig, flag_values=values, **texts)
    config_flags.define_flags(CorrectConfig, FLAGS_GROUP, values)
    values(["prepare", f"--{flag}"])
    read: Any = config_flags.read_flags
    monkeypatch.setattr(config_flags, "read_flags", lambda cls: read(cls, values))
    monkeypatch.setattr(prepare_command, "FLAGS", values)
    monkeypatch.setattr(prepare_command.script, "load_tensorflow", lambda: None)
    monkeypatch.setattr(prepare_command.correct, "main", lambda: asked.append(flag))
    prepare_command.main()
    assert asked == ["", flag]


def test_columns_without_a_name():
    """As spreadsheets leave them at the end."""
    text = "id,path,given_label,corrected_label,score,,\n"
    known = Known(DatasetInfo("own", 2, ("a", "b")), np.arange(2), np.array([0, 1]), {})
    assert read_corrections((text + "1,,b,a,1,,\n").encode(), "a.csv", known).tolist() == [[1, 0]]
