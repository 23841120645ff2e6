"""From a student's losses to a data-driven MentorNet."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from helpers import run
from sklearn import linear_model

from mentornet import InputError, load_mentornet
from mentornet.cleaning.label_errors import score_labels
from mentornet.config.training import TrainConfig
from mentornet.core.checkpoint_files import write_checkpoint
from mentornet.datasets import records
from mentornet.datasets.catalog import dataset_info
from mentornet.datasets.prepare import PrepareConfig, prepare
from mentornet.evaluation import dump
from mentornet.label_noise.history import NAMES, VALUES
from mentornet.learning import quality, training_rows
from mentornet.runs import checkpoints
from mentornet.training import loop
from mentornet.weighting.features import RELEASE


@pytest.fixture(scope="module")
def trusting(tmp_path_factory):
    """Digits of which 60 of 200 training samples are trusted."""
    folder = tmp_path_factory.mktemp("trusting")
    config = PrepareConfig("digits", str(folder), noise_fraction=0.4, num_train=200, num_trusted=60)
    prepare(config)
    return config.train_folder


def read(folder):
    return records.read_examples(str(folder), dataset_info("digits", folder), "train")


def test_only_trusted_samples_are_chosen(trusting):
    examples = read(trusting)
    assert examples.trusted.sum() == 60
    for num_samples in (None, 10, 60):
        chosen = dump.choose(examples, num_samples, 0)
        assert len(chosen) == (num_samples or 60)
        assert examples.trusted[chosen].all()
    # The clean labels of the others have no effect.
    forged = np.where(examples.trusted, examples.clean_labels, 7)
    other = dataclasses.replace(examples, clean_labels=forged)
    np.testing.assert_array_equal(dump.choose(other, 20, 3), dump.choose(examples, 20, 3))
    chosen = dump.choose(other, None, 0)
    np.testing.assert_array_equal(
        other.take(chosen).clean_labels, examples.take(chosen).clean_labels
    )


def test_a_subset_is_balanced_and_a_function_of_its_seed(digits):
    examples = read(digits / "0.4")
    chosen = dump.choose(examples, 50, 0)
    assert len(set(chosen)) == 50 and (np.diff(chosen) > 0).all()
    assert (np.bincount(examples.labels[chosen], minlength=10) == 5).all()
    np.testing.assert_array_equal(chosen, dump.choose(examples, 50, 0))
    assert (chosen != dump.choose(examples, 50, 1)).any()
    for number in (0, 201):
        with pytest.raises(InputError, match=r"1..200"):
            dump.choose(examples, number, 0)
    unknown = dataclasses.replace(examples, clean_labels=np.full(200, -1))
    with pytest.raises(InputError, match="known clean label"):
        dump.choose(unknown, None, 0)


def test_from_dump_to_training(trusting, tmp_path):
    """The commands of a user, one after another."""
    data = ["--dataset_name=digits", f"--data_dir={trusting}", "--studentnet=mlp"]
    steps = ["--batch_size=32", "--max_number_of_steps=20"]

    def call(script, *flags):
        status, output = run(script, *flags)
        assert status == 0, output
        return output

    steps.append("--record_sample_weights")
    call("code/cifar_train_baseline.py", *data, *steps, f"--train_log_dir={tmp_path}/burn-in")
    evaluate = ["code/cifar_eval.py", f"--checkpoint_dir={tmp_path}/burn-in"]
    evaluate += [f"--data_dir={trusting}", "--split_name=train"]
    output = call(*evaluate, f"--output_csv_file={tmp_path}/dump.csv")
    assert "losses of 60 samples at step 20" in output
    rows, _ = training_rows.read_dump(str(tmp_path / "dump.csv"))
    examples = read(trusting)
    trusted = examples.take(np.flatnonzero(examples.trusted))
    share = np.mean(trusted.labels != trusted.clean_labels)
    assert f"at step 20, {share:.1%} of the labels wrong" in output
    np.testing.assert_array_equal(rows[:, 0], trusted.ids)
    np.testing.assert_array_equal(rows[:, 2], trusted.labels)
    np.testing.assert_array_equal(rows[:, 3], trusted.clean_labels)
    assert (rows[:, 1] == 99).all()
    few = ["--dump_num_samples=20", "--dump_seed=3", "--dump_features=wrong_share,mean_loss"]
    call(*evaluate, *few, f"--output_csv_file={tmp_path}/few.csv")
    chosen = examples.take(dump.choose(examples, 20, 3))
    few_rows, names = training_rows.read_dump(str(tmp_path / "few.csv"))
    np.testing.assert_array_equal(few_rows[:, 0], chosen.ids)
    assert names == (*RELEASE, "wrong_share", "mean_loss")
    call(
        "mentornet_learning/data_generator.py",
        "--vstar_fn=data_driven",
        f"--input_csv_filename={tmp_path}/dump.csv",
        f"--outdir={tmp_path}/rows",
    )
    output = call(
        "mentornet_learning/train.py",
        f"--data_path={tmp_path}/rows/dump_percentile_60",
        f"--train_dir={tmp_path}/dd",
        "--max_step_train=200",
    )
    assert "best so far at" in output
    assert "On the 12 held-out rows" in output
    for name in ("MentorNet", "loss threshold", "logistic regression"):
        assert f"\n{name:<20} AUC " in output
    load_mentornet(f"{tmp_path}/dd")
    mentored = [f"--trained_mentornet_dir={tmp_path}/dd", f"--train_log_dir={tmp_path}/train"]
    call("code/cifar_train_mentornet.py", *data, *steps, *mentored)


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
def test_damaged_checkpoints_end_in_one_line(trusting, tmp_path, part):
    """The dump and the ranking of labels name the checkpoint."""
    folder = tmp_path / "run"
    config = TrainConfig(
        str(trusting),
        str(folder),
        dataset_name="digits",
        studentnet="helpers:small_student",
        batch_size=20,
        max_number_of_steps=1,
        record_sample_weights=True,
    )
    loop.train(config)
    images = np.zeros((20, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "smaller.npz", images=images, labels=np.arange(20) % 10)
    prepare(PrepareConfig("smaller", str(tmp_path), str(tmp_path / "smaller.npz")))
    smaller = tmp_path / "smaller" / "given"
    smaller.joinpath("smaller_train-00000-of-00001").rename(smaller / "digits_train-00000-of-00001")
    with pytest.raises(InputError, match="samples of the shape that the student was trained on"):
        dump.write_losses(
            str(tmp_path / "dump.csv"),
            checkpoint_dir=str(folder),
            data_dir=str(smaller),
        )
    file = folder / f"model.ckpt-1.{part}"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    csv = str(tmp_path / "dump.csv")
    for names in ((), ("mean_loss",)):
        with pytest.raises(InputError, match=r"Checkpoint .*/model.ckpt-1 cannot be read: "):
            dump.write_losses(
                csv, checkpoint_dir=str(folder), data_dir=str(trusting), features=names
            )
    with pytest.raises(InputError, match=r"Checkpoint .*/model.ckpt-1 cannot be read: "):
        score_labels([str(folder)])
    assert not (tmp_path / "dump.csv").exists()


def test_a_dump_of_the_release_is_refused(trusting, tmp_path):
    write_checkpoint(tmp_path / "model.ckpt-10", {"global_step": tf.constant(10)})
    with pytest.raises(InputError, match="model.ckpt-10 holds no configuration"):
        dump.write_losses(
            str(tmp_path / "dump.csv"), checkpoint_dir=str(tmp_path), data_dir=str(trusting)
        )


def test_data_driven_rows_against_numpy():
    rows = np.array([[0, 18, 3, 3, 0.5], [1, 18, 3, 4, 2.0], [2, 20, 1, 1, 1.0]])
    features, targets = training_rows.data_driven(rows, 75)
    # The 75th percentile of 0.5, 1, 2 lies halfway between 1 and 2.
    expected = [[0.5, -1.0, 0, 18], [2.0, 0.5, 0, 18], [1.0, -0.5, 0, 20]]
    np.testing.assert_allclose(features, expected)
    np.testing.assert_array_equal(targets, [1, 0, 1])
    assert training_rows.data_driven(rows, 75, 0)[0][:, 3].tolist() == [0, 0, 0]


HISTORY = "# sample_id epoch noisy_label clean_label loss wrong_share mean_loss\n"


def test_rows_of_several_epochs_against_numpy(tmp_path):
    """The percentile is its epoch's, further features come last, the epoch may be fixed."""
    path = tmp_path / "dump.csv"
    first = f"{HISTORY}0 18 3 3 0.5 0.2 0.7\n1 18 3 4 2 0.9 2.5\n"
    path.write_text(f"{first}{HISTORY}0 90 3 3 0.1 0.1 0.3\n1 90 3 4 0.3 0.6 0.8\n")
    dump, names = training_rows.read_dump(str(path))
    assert names == (*RELEASE, "wrong_share", "mean_loss")
    features, targets = training_rows.data_driven(dump, 50, 20)
    expected = [
        [0.5, -0.75, 0, 20, 0.2, 0.7],
        [2.0, 0.75, 0, 20, 0.9, 2.5],
        [0.1, -0.1, 0, 20, 0.1, 0.3],
        [0.3, 0.1, 0, 20, 0.6, 0.8],
    ]
    np.testing.assert_allclose(features, expected, atol=1e-6)
    np.testing.assert_array_equal(targets, [1, 0, 1, 0])


def test_each_part_holds_clean_and_corrupted_samples():
    """Also of few rows, where most random orders do not do that: of 16, 3 are set aside."""
    for seed in range(20):
        dump = np.stack([np.arange(20.0), *np.zeros((4, 20))], axis=1)
        dump[:3, 2] = 1
        rows = training_rows.shuffled(dump, seed)
        np.testing.assert_array_equal(np.sort(rows[:, 0]), np.arange(20))
        assert {0, 1} == {*rows[:3, 2]} == {*rows[3:16, 2]} == {*rows[16:, 2]}
        dump[2, 2] = 0  # Two cannot be in all three.
        rows = training_rows.shuffled(dump, seed)
        assert {0, 1} == {*rows[:3, 2]} == {*rows[3:16, 2]}
        dump[1, 2] = 0
        assert 1 in training_rows.shuffled(dump, seed)[3:16, 2]


def test_rows_of_a_sample_stay_together():
    """So that held-out rows are of other samples; rows of one epoch are permuted as before."""
    one = np.stack([np.random.default_rng(2).permutation(50) + 7.0, *np.zeros((4, 50))], axis=1)
    expected = np.random.default_rng(5).permutation(one)
    np.testing.assert_array_equal(training_rows.shuffled(one, 5), expected)
    three = np.concatenate([one + [0, epoch, 0, 0, 0] for epoch in (1, 2, 3)])
    rows = training_rows.shuffled(three, 5)
    np.testing.assert_array_equal(rows[:, 0], np.repeat(expected[:, 0], 3))
    np.testing.assert_array_equal(rows[:, 1], np.tile([1, 2, 3], 50))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (HISTORY, "must not be empty"),
        (f"{HISTORY}0 1 2 2 0.5 1\n", "line 2: must hold sample_id .* mean_loss"),
        (f"{HISTORY}0 1 2 2 1 1 1\n# sample_id\n", "line 3: must name the same columns"),
        ("# sample_id epoch noisy_label clean_label loss age\n", "must be among loss_variance"),
        ("0 1 2 2 0.5\n1 1 2 3\n", "line 2: must hold sample_id epoch"),
        ("0 1 2 2 0.5\n1 1 2 3 x\n", "line 2: must hold finite numbers"),
        ("0 1 2 2 0.5\n1 100 2 3 1\n", r"line 2: the epoch must lie in 0..99.*100"),
        ("0 1 2 2 nan\n", "line 1: must hold finite numbers"),
        ("0 1 nan nan 0.5\n", "line 1: must hold finite numbers"),
        ("0 1 2 2 0.5\n1 1 3 3 1\n", "correct and wrong labels"),
        ("0 1 2 2 0.5\n1 -1 2 3 1\n", r"line 2: the epoch must lie in 0..99.*-1"),
        ("0 1 2 2 -0.1\n", "line 1: the loss must be at least 0.*-0.1"),
        ("0 1 2 2 inf\n", "line 1: must hold finite numbers"),
        ("0 1 2 3 0.5\n1 1 3 2 1\n", "correct and wrong labels.*correct=0, wrong=2"),
        ("", "must not be empty"),
    ],
)
def test_bad_dumps_name_the_line(tmp_path, text, part):
    path = tmp_path / "dump.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=part):
        training_rows.read_dump(str(path))


def test_more_columns_are_passed_over(tmp_path):
    path = tmp_path / "dump.csv"
    path.write_text("0 1 2 2 0.5 0.1 0.2\n1 1 2 3 1 0 cat\n")
    dump, names = training_rows.read_dump(str(path))
    np.testing.assert_array_equal(dump, [[0, 1, 2, 2, 0.5], [1, 1, 2, 3, 1]])
    assert names == RELEASE


def test_rows_are_written_with_their_origin(tmp_path, capsys):
    """Also into a folder that is there; files of the release name no features."""
    folder, names = tmp_path / "new" / "rows", (*RELEASE, "wrong_share")
    rows, targets = np.zeros((10, 5), np.float32), np.tile([0.0, 1.0], 5)
    for _ in range(2):
        training_rows.write(rows, targets, str(folder), training_rows.DATA_DRIVEN, names)
    told = f"{folder}: 8 rows in tr.npz, 2 in ts.npz\n"
    assert capsys.readouterr().out == 2 * told
    assert training_rows.origin(folder / "ts.npz") == (True, names)
    np.savez(folder / "old.npz", features=rows[:, :4], targets=targets)
    assert training_rows.origin(folder / "old.npz") == (False, RELEASE)


def test_an_unknown_feature_is_refused_by_its_flag(tmp_path):
    target = tmp_path / "dump.csv"
    with pytest.raises(InputError, match="`dump_features` must be among"):
        dump.write_losses(str(target), checkpoint_dir="t", data_dir="d", features=("weather",))
    with pytest.raises(InputError, match="`batch_size` must be at least 1"):
        dump.write_losses(str(target), checkpoint_dir="t", data_dir="d", batch_size=0)
    assert not target.exists()


def test_quality_against_numbers_worked_by_hand():
    features = np.zeros((4, 4), np.float32)
    features[:, 0] = [0.1, 0.2, 1.0, 2.0]
    targets = np.array([1.0, 1.0, 0.0, 0.0], np.float32)
    test = features[[0, 2, 1, 3]], np.array([1.0, 0.0, 0.0, 1.0], np.float32)
    weights = np.array([0.9, 0.4, 0.6, 0.5], np.float32)
    result = quality.compare((features, targets), test, weights)
    # Of the four pairs (clean, corrupted), 0.9 > 0.4, 0.9 > 0.6, 0.5 > 0.4, 0.5 < 0.6.
    assert result["MentorNet"].auc == 0.75
    expected = -np.mean(np.log([0.9, 0.6, 0.4, 0.5]))
    assert result["MentorNet"].log_loss == pytest.approx(expected, rel=1e-5)
    # By loss: 0.1 before 1.0 and 0.2, 2.0 after both.
    assert result["loss threshold"].auc == 0.5


def quality_rows(loss, clean):
    """The label, which must not be used, would tell everything; the last column tells a little."""
    loss, clean = np.array(loss, np.float32), np.array(clean, np.float32)
    number = np.arange(len(loss))
    columns = [loss, 3 - loss**2, 100 * clean, number % 2, clean - number % 3]
    return np.stack(columns, axis=1), clean


def test_baselines_of_the_quality_against_numbers_worked_by_hand():
    """The most accurate threshold is 4.5: 4 of 5 are clean up to it, 1 of 4 above."""
    train = quality_rows([1, 2, 3, 4, 4.5, 5, 6, 7, 8], [1, 1, 0, 1, 1, 0, 0, 1, 0])
    test = quality_rows([4.5, 4.6, 4.55, 9], [1, 1, 0, 0])
    result = quality.compare(train, test, np.array([0.0, 1, 1, 0]))
    # Weights of 0 and 1 are clipped.
    assert result["MentorNet"].log_loss == pytest.approx(-np.log(1e-7) / 2, rel=1e-4)
    found = result["loss threshold"]
    assert found.log_loss == pytest.approx(-np.mean(np.log([0.8, 0.25, 0.75, 0.75])), rel=1e-6)
    assert found.auc == 0.75
    used = [0, 1, 3, 4]
    x, x_test = ((part - train[0].mean(axis=0)) / train[0].std(axis=0) for part, _ in (train, test))
    model = linear_model.LogisticRegression().fit(x[:, used], train[1])
    share = model.predict_proba(x_test[:, used])
    expected = -np.mean(np.log(share[range(4), test[1].astype(int)]))
    assert result["logistic regression"].log_loss == pytest.approx(expected, rel=1e-4)
    # Above a threshold that is the highest loss nothing is known.
    train = quality_rows([1, 2, 3], [0, 1, 1])
    found = quality.compare(train, quality_rows([2, 9], [1, 0]), np.ones(2))["loss threshold"]
    assert found.log_loss == pytest.approx(-np.mean(np.log([2 / 3, 0.5])), rel=1e-6)


def test_the_quality_is_printed(capsys):
    mentor = load_mentornet("self_paced")
    train = quality_rows([1, 2, 3, 4, 4.5, 5, 6, 7, 8], [1, 1, 0, 1, 1, 0, 0, 1, 0])
    test = quality_rows([0.5, 4.6, 4.55, 9], [1, 1, 0, 0])
    parts = [(features[:, :4] * [1, 1, 0, 1], targets) for features, targets in (train, test)]
    weights = mentor.sample_weights(parts[1][0].astype(np.float32)).numpy()[:, 0]
    expected = quality.compare(parts[0], parts[1], weights)
    as_rows = [(features.astype(np.float32), targets[:, None]) for features, targets in parts]
    found = quality.report(mentor, *as_rows)
    for name in expected:
        values = dataclasses.asdict(expected[name])
        assert dataclasses.asdict(found[name]) == pytest.approx(values, rel=1e-5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "On the 4 held-out rows, clean vs. corrupted:"
    assert "AUC 0.7500" in lines[2] and lines[2].startswith("loss threshold ")


def test_parts_must_hold_clean_and_corrupted_samples():
    rows = np.zeros((3, 4), np.float32), np.array([[1], [0], [0]], np.float32)
    quality.check_rows(rows, rows)
    for same in (0, 1):
        bad = rows[0], np.full((3, 1), same, np.float32)
        for parts, name in (((bad, rows), "tr.npz"), ((rows, bad), "ts.npz")):
            with pytest.raises(InputError, match=f"{name} must hold clean and corrupted samples"):
                quality.check_rows(*parts)


def test_dumps_at_the_bounds_and_files_that_are_none(tmp_path):
    path = tmp_path / "dump.csv"
    path.write_text("0 0 2 2 0\n1 99 2 3 1e9\n")
    expected = [[0, 0, 2, 2, 0], [1, 99, 2, 3, 1e9]]
    np.testing.assert_array_equal(training_rows.read_dump(str(path))[0], expected)
    path.write_bytes(b"0 1 2 2 0.5\xff\n")
    for name in ("dump.csv", "none.csv"):
        with pytest.raises(InputError, match=f"`input_csv_filename` .*{name} cannot be read"):
            training_rows.read_dump(str(tmp_path / name))


def test_every_row_is_written_once_and_in_order(tmp_path):
    features = np.zeros((10, 4), np.float32)
    features[:, 0] = np.arange(10)
    targets = np.arange(10, dtype=np.float32) / 10
    training_rows.write(features, targets, str(tmp_path), "self_paced")
    train, test = (training_rows.read_rows(tmp_path / f"{name}.npz") for name in ("tr", "ts"))
    assert len(train[0]) == 8
    np.testing.assert_array_equal(np.concatenate([train[0], test[0]]), features)
    np.testing.assert_array_equal(np.concatenate([train[1], test[1]]), targets[:, None])
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="`outdir` .* cannot be written"):
        training_rows.write(features, targets, str(tmp_path / "file" / "rows"), "self_paced")


def test_what_the_script_makes_of_a_dump(tmp_path):
    csv = tmp_path / "d.csv"
    lines = [f"{i} 18 {i % 2} 0 {i / 10} 0.5\n" for i in range(20)]
    csv.write_text("# sample_id epoch noisy_label clean_label loss wrong_share\n" + "".join(lines))
    flags = ("--vstar_fn=data_driven", "--fixed_epoch=30", "--seed=3")
    files = (f"--input_csv_filename={csv}", f"--outdir={tmp_path}/rows")
    status, output = run("mentornet_learning/data_generator.py", *flags, *files)
    assert status == 0, output
    dump = training_rows.shuffled(training_rows.read_dump(str(csv))[0], 3)
    for percentile in (40, 50, 60, 75, 80, 90):
        folder = tmp_path / "rows" / f"d_percentile_{percentile}"
        parts = [training_rows.read_rows(folder / f"{name}.npz")[0] for name in ("tr", "ts")]
        expected, _ = training_rows.data_driven(dump, percentile, 30)
        np.testing.assert_array_equal(np.concatenate(parts), expected)
        assert training_rows.origin(folder / "tr.npz") == (True, (*RELEASE, "wrong_share"))


def test_the_script_of_a_curriculum(tmp_path):
    flags = ("--vstar_fn=focal_loss", "--vstar_gamma=3", "--sample_size=50", "--seed=2")
    status, output = run("mentornet_learning/data_generator.py", *flags, f"--outdir={tmp_path}")
    assert status == 0, output
    parts = [training_rows.read_rows(tmp_path / f"{name}.npz") for name in ("tr", "ts")]
    expected = training_rows.generate("focal_loss", 3.0, 50, 2)
    np.testing.assert_array_equal(np.concatenate([p[0] for p in parts]), expected[0])
    np.testing.assert_array_equal(np.concatenate([p[1] for p in parts])[:, 0], expected[1])
    assert (training_rows.generate("focal_loss", 3.0, 50, 1)[0] != expected[0]).any()


def test_every_epoch_may_be_dumped(tmp_path):
    for epoch in (0, 99):
        (tmp_path / "dump.csv").write_text(f"0 {epoch} 1 1 0.5\n1 {epoch} 1 2 0\n")
        assert training_rows.read_dump(str(tmp_path / "dump.csv"))[0][:, 1].tolist() == [epoch] * 2
    for epoch in (-1, 100):
        (tmp_path / "dump.csv").write_text(f"0 {epoch} 1 1 0.5\n1 {epoch} 1 2 0\n")
        with pytest.raises(InputError, match="the epoch must lie in 0..99"):
            training_rows.read_dump(str(tmp_path / "dump.csv"))


def test_no_threshold_lies_between_equal_losses():
    """By hand: up to 2 four of six are right; within the four of 1, five would be."""
    losses = np.array([1, 1, 1, 1, 2, 3], np.float32)
    targets = np.array([1, 1, 0, 0, 1, 0], np.float32)
    for order in (np.arange(6), np.array([2, 3, 0, 1, 4, 5])):
        threshold, under, over = quality._loss_threshold(losses[order], targets[order])
        assert (threshold, under, over) == (2, pytest.approx(0.6), 0)


def test_one_row_is_read_and_none_is_not(tmp_path):
    for count in (1, 0):
        rows = np.zeros((count, 4), np.float32), np.ones(count, np.float32)
        np.savez(tmp_path / f"{count}.npz", features=rows[0], targets=rows[1])
    np.testing.assert_array_equal(training_rows.read_rows(tmp_path / "1.npz")[1], [[1.0]])
    with pytest.raises(InputError, match=r"features \[n, 4\] and targets \[n\], n > 0"):
        training_rows.read_rows(tmp_path / "0.npz")


def test_a_history_that_is_missing_or_lacks_a_column(monkeypatch):
    saved: dict[str, Any] = {}
    monkeypatch.setattr(checkpoints, "read_state", lambda prefix, names: saved)
    rule = "with --record_sample_weights or --keep_best. Received: checkpoint_dir='run-1'"
    with pytest.raises(InputError, match=rule):
        dump._further("run-1", np.arange(2), ["wrong_share"])
    names = np.array([b"num_seen", b"num_wrong"])
    saved.update({VALUES: np.zeros((3, 2), np.float32), NAMES: names})
    rule = "history with the column num_counted. Received: columns=.'num_seen', 'num_wrong'.$"
    with pytest.raises(InputError, match=rule):
        dump._further("run-1", np.arange(2), ["wrong_share"])


def test_features_are_those_of_the_chosen_samples(monkeypatch):
    saved = {VALUES: np.arange(5.0)[:, None], NAMES: np.array([b"mean_loss"])}
    monkeypatch.setattr(checkpoints, "read_state", lambda prefix, names: saved)
    (found,) = dump._further("run-1", np.array([3, 1]), ["mean_loss"])
    assert found.tolist() == [3, 1]


def test_rows_that_cannot_be_written_replace_none(tmp_path, monkeypatch):
    rows = np.zeros((10, 4), np.float32), np.ones(10, np.float32)
    training_rows.write(*rows, str(tmp_path), "own")

    def full(file, **arrays):
        file.write(b"PK")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match="cannot be written: No space"):
        training_rows.write(*rows, str(tmp_path), "own")
    assert len(training_rows.read_rows(tmp_path / "tr.npz")[0]) == 8
