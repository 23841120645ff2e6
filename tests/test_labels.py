"""Label errors: scores, estimates, and the pages in a real browser."""

import base64
import dataclasses
import hashlib
import json
import pathlib
import re
import types
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import tensorflow as tf
from helpers import ROOT, warm_server

from mentornet import InputError
from mentornet.cleaning import label_errors, label_files, label_studio
from mentornet.cli.commands import report as report_command
from mentornet.core import pages
from mentornet.datasets import records
from mentornet.datasets.catalog import dataset_info
from mentornet.label_noise.noise_rate import NoiseRate


@pytest.fixture(scope="module")
def scores(digits):
    """Scores that separate wrong labels, except for every tenth sample."""
    info = dataset_info("digits", digits / "0.4")
    examples = records.read_examples(str(digits / "0.4"), info, "train")
    generator = np.random.default_rng(0)
    wrong = examples.labels != examples.clean_labels
    score = np.where(wrong, 0.8, 0.2) + generator.uniform(-0.1, 0.1, len(examples))
    score[::10] = 1 - score[::10]
    share = float(wrong.mean())
    noise = NoiseRate(share, share, share, np.full(10, share), np.full((10, 2), share), "a test")
    return label_errors.LabelScores(
        info, examples, score, examples.clean_labels, score, score, noise
    )


def test_detection_quality(scores):
    """AUC as the share of pairs in the right order; precision and recall counted by hand."""
    rows = label_errors.detection_quality(scores)
    assert [row["class"] for row in rows] == ["all", *"0123456789"]
    wrong = scores.examples.labels != scores.examples.clean_labels
    pairs = scores.score[wrong][:, None] > scores.score[~wrong]
    assert rows[0]["auc"] == pytest.approx(pairs.mean())
    top = np.argsort(-scores.score)[: wrong.sum()]
    assert rows[0]["precision"] == pytest.approx(wrong[top].mean())
    assert rows[0]["recall"] == pytest.approx(wrong[top].mean())
    assert sum(row["wrong"] for row in rows[1:]) == rows[0]["wrong"] == wrong.sum()
    hits = wrong[np.argsort(-scores.score)]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    assert rows[0]["average_precision"] == pytest.approx(precision[hits].mean())
    right = scores.examples.clean_labels == 3
    labels = np.where(right, 3, np.where(scores.examples.labels == 3, 4, scores.examples.labels))
    mended = dataclasses.replace(scores.examples, labels=labels)
    row = label_errors.detection_quality(dataclasses.replace(scores, examples=mended))[4]
    assert row["class"] == "3" and row["wrong"] == 0 < row["samples"]
    assert row["auc"] is row["average_precision"] is row["recall"] is None
    unknown = dataclasses.replace(scores.examples, clean_labels=np.full(len(wrong), -1))
    assert label_errors.detection_quality(dataclasses.replace(scores, examples=unknown)) == []


def test_samples_that_no_step_saw_are_no_suspects(scores):
    """The share is estimated of the others."""
    count = len(scores.examples)
    half = dataclasses.replace(scores, num_seen=count // 2)
    assert len(half.suspects) == round(scores.noise_rate * (count // 2))
    np.testing.assert_array_equal(half.suspects, scores.suspects[: len(half.suspects)])


def test_the_worst_classes_with_their_ranges(scores, tmp_path):
    by_class = np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.1, 0.6, 0.1, 0.1])
    ranges = np.stack([by_class - 0.04, by_class + 0.04], axis=1)
    ranges[3] = 0.55, 0.85
    noise = dataclasses.replace(scores.noise, by_class=by_class, range_by_class=ranges)
    told = dataclasses.replace(scores, noise=noise)
    assert label_files.worst_classes(told) == (
        "Worst classes: 1 90.0%, 3 80.0% (between 55.0% and 85.0%), 5 70.0%, 7 60.0%, 4 30.0%."
    )
    noise = dataclasses.replace(noise, by_class=by_class + 0.01)
    doubtful = label_files.worst_classes(dataclasses.replace(scores, noise=noise))
    assert doubtful.endswith("labels seem wrong, the student may not know the class.")
    label_files.write(told, tmp_path, 5)
    assert "<td>80.0% (between 55.0% and 85.0%)</td>" in (tmp_path / "labels.html").read_text()


def test_confusion(scores):
    """For each given class, suspects count under the suggested class, here the clean label."""
    matrix = label_errors.confusion(scores)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    given, clean = scores.examples.labels, scores.examples.clean_labels
    suspects = np.zeros(len(given), bool)
    suspects[scores.suspects] = True
    expected = np.mean(suspects[given == 3] & (clean[given == 3] == 5))
    assert matrix[3, 5] == pytest.approx(expected)


def test_many_classes_have_no_matrix(scores, tmp_path, monkeypatch):
    """Its size is the square of theirs; the pairs are counted instead."""
    monkeypatch.setattr(label_files, "_LARGEST_MATRIX", 9)
    label_files.write(scores, tmp_path, 5)
    page = (tmp_path / "labels.html").read_text()
    header = '<th scope="col">given</th><th scope="col">suggested</th><th scope="col">suspects</th>'
    assert page.count(header) == 1 and page.count("<table>") == 2  # The other: how well it finds.
    pairs = label_errors.confused_pairs(scores)
    given, suggested = scores.examples.labels, scores.suggested
    chosen = scores.suspects
    for label, other, count in pairs:
        assert count == sum((given[chosen] == label) & (suggested[chosen] == other)) > 0
    counts = [count for _, _, count in pairs]
    assert sum(counts) == len(chosen) and counts == sorted(counts, reverse=True)
    label, other, count = pairs[0]
    assert f"<td>{label}</td><td>{other}</td><td>{count}</td>" in page


def test_what_is_refused(tmp_path, train_flags):
    with pytest.raises(InputError, match="`RUN_DIR` must hold a training run"):
        label_errors.score_labels([str(tmp_path)])
    runs = {}
    for name, values in {
        "plain": {"record_sample_weights": "false"},
        "one": {},
        "other": {"data_dir": tmp_path / "data" / "digits" / "0"},
    }.items():
        runs[name] = str(tmp_path / name)
        if name == "other":
            from mentornet.datasets.prepare import PrepareConfig, prepare

            prepare(PrepareConfig("digits", str(tmp_path / "data"), num_train=200))
        defaults = {"record_sample_weights": "true", "max_number_of_steps": 3}
        defaults["studentnet"] = "helpers:small_student"
        flags = train_flags(train_log_dir=runs[name], **(defaults | values))
        script = ROOT / "code" / "cifar_train_baseline.py"
        status, _, output = warm_server().run(script, *flags, PYTHONPATH=str(ROOT / "tests"))
        assert status == 0, output
    with pytest.raises(InputError, match="--record_sample_weights"):
        label_errors.score_labels([runs["plain"]])
    with pytest.raises(InputError, match="on the same labels"):
        label_errors.score_labels([runs["one"], runs["other"]])
    with pytest.raises(InputError, match="`data_dir` must hold the records"):
        label_errors.score_labels([runs["one"]], str(tmp_path / "data" / "digits" / "0"))
    scores = label_errors.score_labels([runs["one"]])
    assert (scores.score > 0).sum() == 3 * 16  # Others were never seen.
    file = tmp_path / "one" / "config.json"
    whole = file.read_text()
    assert json.loads(whole)["record_sample_weights"] is True
    for text in ("[]", whole[:-9]):
        file.write_text(text)
        with pytest.raises(InputError, match=r"config.json is not a run's configuration: "):
            label_errors.score_labels([runs["one"]])


def test_columns_of_weights_and_losses(scores):
    told = dataclasses.replace(scores, mean_weight=scores.score / 2, mean_loss=5 * scores.score)
    columns = label_files.table(told)
    np.testing.assert_array_equal(columns["mean_weight"], scores.score / 2)
    np.testing.assert_array_equal(columns["mean_loss"], 5 * scores.score)
    np.testing.assert_allclose(label_files.table(scores)["label_score"], 1 - scores.score)


def test_images_of_the_page_come_in_blocks(scores, monkeypatch):
    monkeypatch.setattr(label_files, "CHUNK", 2)
    found = re.findall(r'id="images-\d+">(.*?)</script>', label_files.to_html(scores, 5))
    blocks = [json.loads(block) for block in found]
    assert [len(block) for block in blocks] == [2, 2, 1]
    pictures = [imageio.imread(base64.b64decode(data)) for block in blocks for data in block]
    expected = np.asarray(scores.examples.images)[scores.order[:5]]
    np.testing.assert_array_equal(pictures, expected)


def shown(pixels):
    """The file that the page has of an image, uint8 [height, width, 3]."""
    zero = np.zeros(1, np.int64)
    images = tf.constant(pixels[None])
    examples = records.Examples(images, pixels.shape, zero, zero, zero, zero == 1)
    told: Any = types.SimpleNamespace(examples=examples)
    (data,) = map(base64.b64decode, label_files._images(told, zero))
    return data


def test_large_images_are_averaged_and_others_keep_their_size():
    stripes = np.zeros((1024, 1024, 3), np.uint8)
    stripes[:, ::4] = 200
    assert imageio.imread(shown(stripes)).mean() == pytest.approx(50, abs=5)
    for size, expected in (((128, 200), (128, 200)), ((2, 1200), (1, 256))):
        assert imageio.imread(shown(np.zeros((*size, 3), np.uint8))).shape == (*expected, 3)


def test_large_images_are_reduced_in_proportion():
    pixels = np.zeros((128, 512, 3), np.uint8)
    pixels[:, 256:] = 200
    data = shown(pixels)
    picture = imageio.imread(data)
    assert data[:2] == b"\xff\xd8" and picture.shape == (64, 256, 3)
    assert picture[:, :120].max() < 10 and picture[:, 136:].min() > 190
    kinds = [label_files._image_type((64, side, 3)) for side in (64, 65)]
    assert kinds == ["image/png", "image/jpeg"]


def test_other_images_or_names_share_no_decisions(scores):
    examples = dataclasses.replace(scores.examples, images=255 - scores.examples.images)
    info = dataclasses.replace(scores.info, class_names=tuple("abcdefghij"))
    other = dataclasses.replace(scores, examples=examples)
    renamed = dataclasses.replace(scores, info=info)
    assert len({label_files._key(each) for each in (scores, other, renamed)}) == 3


def test_what_the_page_says_of_each_sample(scores):
    """Ids and scores are texts, which it saves unchanged."""
    examples = scores.examples
    told = dataclasses.replace(
        scores,
        suggested=(examples.labels + 1) % 10,
        mean_weight=scores.score / 2,
        mean_loss=5 * scores.score,
        paths={int(number): f"{number}.png" for number in examples.ids},
    )
    (block,) = re.findall(r'id="review-data">(.*?)</script>', label_files.to_html(told, 3))
    data, chosen = json.loads(block), told.order[:3]
    assert data["ids"] == [str(number) for number in examples.ids[chosen]]
    assert data["paths"] == [f"{number}.png" for number in examples.ids[chosen]]
    assert data["given"] == examples.labels[chosen].tolist()
    assert data["predicted"] == told.suggested[chosen].tolist()
    assert data["scores"] == [f"{score:.10f}" for score in told.score[chosen]]
    assert data["losses"] == [f"{loss:.2f}" for loss in told.mean_loss[chosen]]
    assert data["classes"] == [*"0123456789"]
    assert (data["image_type"], data["image_size"], data["chunk"]) == ("image/png", 32, 200)


def cells_of(table):
    rows = re.findall("<tr>(.*?)</tr>", table)
    return [re.findall("<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]


def test_a_row_of_the_confusion_is_a_given_class(scores, monkeypatch):
    matrix = np.arange(100).reshape(10, 10) / 100
    monkeypatch.setattr(label_errors, "confusion", lambda told: matrix)
    header, *rows = cells_of(label_files._confusion(scores))
    assert header == ["given", "wrong", *"0123456789"]
    expected = [[str(k), *(f"{share:.3f}" for share in matrix[k])] for k in range(10)]
    assert [[row[0], *row[2:]] for row in rows] == expected
    monkeypatch.setattr(label_files, "_LARGEST_MATRIX", 10)
    assert cells_of(label_files._confusion(scores))[0] == header
    monkeypatch.setattr(label_files, "_LARGEST_MATRIX", 9)
    monkeypatch.setattr(label_files, "_NUM_PAIRS", 2)
    monkeypatch.setattr(label_errors, "confused_pairs", lambda told: [(0, 1, 5), (2, 3, 4), (4,)])
    rows = cells_of(label_files._confusion(scores))[1:]
    assert rows == [["0", "1", "5"], ["2", "3", "4"]]


@pytest.mark.parametrize("program", ["", "alert('x');"])
def test_a_page_runs_no_script_but_its_own(program):
    """Its policy names it by its checksum, and lets nothing be loaded from elsewhere."""
    page = pages.page("<b>", "<p>text</p>\n", script=program)
    found = re.findall("<script>(.*?)</script>", page, re.S)
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found]
    assert len(found) == bool(program) and program in "".join(found)
    allowed = f"'sha256-{sums[0]}'" if program else "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page
    assert page.count("&lt;b&gt;") == 2 and "<b>" not in page


def test_what_the_command_reports(scores, monkeypatch, capsys):
    """On all runs, into the folder of the first unless asked otherwise."""
    asked: list[Any] = []

    def score_labels(run_dirs, data_dir):
        asked.append((run_dirs, data_dir))
        return scores

    values: dict[str, Any] = {"output_dir": "", "data_dir": "", "label_studio_dir": ""}
    values["num_shown"] = 7
    monkeypatch.setattr(report_command.config_flags, "read_flags", lambda cls: values)
    monkeypatch.setattr(report_command.script, "load_tensorflow", lambda: None)
    monkeypatch.setattr(label_errors, "score_labels", score_labels)
    for module in (label_files, label_studio):
        monkeypatch.setattr(module, "write", lambda told, *where: asked.append(where))
    report_command.main("one", "two")
    values |= {"output_dir": "out", "data_dir": "moved", "label_studio_dir": "review"}
    report_command.main("one")
    assert asked == [
        (["one", "two"], None),
        (pathlib.Path("one"), 7),
        (["one"], "moved"),
        (pathlib.Path("out"), 7),
        (pathlib.Path("review"), 7),
    ]
    output = capsys.readouterr().out
    assert output.count("200 samples, ") == 2
    assert output.endswith("\nreview: tasks for Label Studio\n")


def test_a_bar_within_a_cell_of_markdown():
    found = pages.markdown_table(("a|b", "n"), [("|", 0.5), (None, 2)])
    assert found == "| a\\|b | n |\n| --- | --- |\n| \\| | 0.500 |\n|  | 2 |\n"


def test_notes_and_quality_are_printed(scores, monkeypatch, capsys):
    told = dataclasses.replace(scores, notes=("one: ranked by its history up to step 20",))
    values = {"output_dir": "out", "data_dir": "", "label_studio_dir": "", "num_shown": 7}
    monkeypatch.setattr(report_command.config_flags, "read_flags", lambda cls: values)
    monkeypatch.setattr(report_command.script, "load_tensorflow", lambda: None)
    monkeypatch.setattr(label_errors, "score_labels", lambda *given: told)
    monkeypatch.setattr(label_files, "write", lambda *given: None)
    report_command.main("one")
    lines, row = capsys.readouterr().out.splitlines(), label_errors.detection_quality(told)[0]
    assert lines[0] == told.notes[0] and lines[1].startswith("200 samples, ")
    names = ("auc", "average_precision", "precision", "recall")
    assert lines[3] == "  ".join(f"{name} {row[name]:.3f}" for name in names)


def test_classes_that_are_no_label_are_left_out(scores):
    """As of a class of which all images were unreadable."""
    chosen = np.flatnonzero((scores.examples.labels != 3) & (scores.examples.labels != 7))
    told = dataclasses.replace(scores, examples=scores.examples.take(chosen))
    assert not re.search(r"\b[37] \d", label_files.worst_classes(told))
    cells = cells_of(
        label_files._confusion(
            dataclasses.replace(told, suggested=told.suggested[chosen], score=told.score[chosen])
        )
    )
    assert [row[0] for row in cells[1:]] == list("01245689")


def test_what_the_page_says_of_all(scores):
    told = f"200 training samples; the labels of about {len(scores.suspects)} of them, "
    told += f"{scores.noise}, are estimated to be wrong, from a test. Below are the 5 most"
    assert told in label_files.to_html(scores, 5)


def test_what_is_written_and_where_it_cannot_be(scores, tmp_path):
    label_files.write(scores, tmp_path / "a" / "b", 5)
    found = {path.name: path.read_text() for path in (tmp_path / "a" / "b").iterdir()}
    assert found == {
        "labels.csv": label_files.to_csv(scores),
        "labels.html": label_files.to_html(scores, 5),
    }
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="`output_dir` .* cannot be written"):
        label_files.write(scores, tmp_path / "file" / "b", 5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_datalab_opens_the_table(scores, tmp_path, monkeypatch):
    """As docs/integrations.md says; skipped where cleanlab or `datasets` is not installed."""
    pytest.importorskip("cleanlab")
    pytest.importorskip("datasets")
    page = (ROOT / "docs" / "integrations.md").read_text().partition("## cleanlab")[2]
    code = re.findall(r"^```py\n(.*?)^```", page, re.S | re.M)[0]
    label_files.write(scores, tmp_path / "runs" / "pets", 5)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    issues, order = names["lab"].get_issues("label"), scores.order
    np.testing.assert_array_equal(issues.is_label_issue, scores.is_suspect[order])
    np.testing.assert_allclose(issues.label_score, 1 - scores.score[order], atol=1e-6)
    np.testing.assert_array_equal(issues.given_label, scores.examples.labels[order])
    np.testing.assert_array_equal(issues.predicted_label, scores.suggested[order])
