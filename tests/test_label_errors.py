"""What is made of the histories of runs, and of the scores; four samples, worked by hand."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mentornet import InputError
from mentornet.cleaning import label_errors, labelled_runs
from mentornet.datasets import records
from mentornet.datasets.catalog import DatasetInfo
from mentornet.label_noise import noise_rate, ranking

INFO = DatasetInfo("own", 3)
LABELS = np.array([0, 1, 1, 2, 1])
CLEAN = np.array([0, 1, 2, 0, -1])  # Two wrong ones, and one that is not known.
SCORE = np.array([0.3, 0.1, 0.9, 0.2, 0.8])


def examples(**values):
    size = len(LABELS)
    made: dict[str, Any] = {"labels": LABELS, "clean_labels": CLEAN, "ids": np.arange(size)}
    made |= {"images": tf.zeros([size, 1, 1, 1]), "image_shape": (1, 1, 1)}
    return records.Examples(**(made | {"trusted": np.zeros(size, bool)} | values))


def noise(rate):
    by_class = np.full(3, rate)
    return noise_rate.NoiseRate(rate, rate, rate, by_class, np.stack([by_class] * 2, 1), "a test")


def scores(rate=0.6, **values):
    suggested = np.array([1, 0, 2, 0, 2])
    made = label_errors.LabelScores(INFO, examples(), SCORE, suggested, SCORE, SCORE, noise(rate))
    return dataclasses.replace(made, **values)


def test_order_and_suspects():
    assert scores().order.tolist() == [2, 4, 0, 3, 1]
    assert scores(score=np.array([0.5, 0.7, 0.5, 0.7, 0.5])).order.tolist() == [1, 3, 0, 2, 4]
    assert scores().suspects.tolist() == [2, 4, 0]
    assert scores(num_seen=4).suspects.tolist() == [2, 4]  # 2.4 of the seen samples.
    assert scores(0.0).suspects.tolist() == []
    assert scores(0.55).suspects.tolist() == [2, 4, 0]  # 2.75 samples are three.
    assert label_errors.confused_pairs(scores(0.0)) == []


def test_detection_quality_by_hand():
    """Of four known labels two are wrong, ranked first and third."""
    found = label_errors.detection_quality(scores())
    expected = [
        ("all", 4, 2, 3 / 4, (1 + 2 / 3) / 2, 1 / 2, 1 / 2),
        ("0", 1, 0, None, None, 0, None),
        ("1", 2, 1, 1, 1, 1, 1),
        ("2", 1, 1, None, None, None, 0),
    ]
    names = ("class", "samples", "wrong", "auc", "average_precision", "precision", "recall")
    assert found == [pytest.approx(dict(zip(names, row, strict=True))) for row in expected]
    unknown = examples(clean_labels=np.full(5, -1))
    assert label_errors.detection_quality(scores(examples=unknown)) == []


def test_confusion_by_hand():
    """The suspects are the samples 2, 4 and 0."""
    np.testing.assert_allclose(
        label_errors.confusion(scores()), [[0.0, 1, 0], [0.0, 1 / 3, 2 / 3], [0.0, 0, 1]]
    )
    assert label_errors.confused_pairs(scores()) == [(1, 2, 2), (0, 1, 1)]
    all_wrong = scores(1.0, suggested=np.array([1, 2, 2, 0, 0]))  # Of equal counts, by class.
    pairs = [(1, 2, 2), (0, 1, 1), (1, 0, 1), (2, 0, 1)]
    assert label_errors.confused_pairs(all_wrong) == pairs
    fewer = dataclasses.replace(scores(), examples=examples(labels=np.array([0, 1, 1, 0, 1])))
    assert label_errors.confusion(fewer)[2].tolist() == [0, 0, 0]


def history(**values):
    """Columns of a run that has seen every sample 30 times, and memorised nothing."""
    columns = dict.fromkeys(("num_seen", "num_counted"), np.full(5, 30.0))
    columns |= {"mean_loss": np.arange(5.0), "mean_weight": np.full(5, 0.5)}
    columns |= {"num_wrong": np.array([3.0, 0, 30, 0, 24]), "prediction": LABELS * 1.0}
    columns |= {"other_class": np.array([1.0, 2, 0, 1, 0])}
    columns |= {name: np.zeros(5) for name in ("mean_margin", "mean_given", "mean_other")}
    return columns | values


def given_runs(monkeypatch, *histories, data=None):
    """Runs with these histories; the share of wrong labels is what `noise` says."""
    monkeypatch.setattr(label_errors, "read_run", lambda name: ({}, histories[int(name)]))
    monkeypatch.setattr(
        label_errors, "read_labels", lambda *arguments: (INFO, data or examples(), "folder")
    )
    monkeypatch.setattr(label_errors, "ranking_history", lambda run, config, last: (last, ""))
    monkeypatch.setattr(label_errors, "read_paths", lambda folder, ids: {7: folder})
    return label_errors.score_labels([str(n) for n in range(len(histories))])


def test_scores_of_two_runs_by_hand(monkeypatch):
    """Suspects get the class that contradicted their label, others what was predicted last.

    Means are those over the runs that have seen the sample.
    """
    pooled: list[ranking.Visits] = []

    def estimate(labels, number, visits):
        pooled.append(visits)
        return noise(0.5)

    monkeypatch.setattr(ranking, "label_scores", lambda visits: SCORE)
    monkeypatch.setattr(noise_rate, "estimate", estimate)
    predicted = np.array([1.0, 0, 1, 0, 1])
    seen = np.array([30.0, 30, 30, 0, 0])
    first = history(num_seen=seen, num_counted=seen, prediction=predicted)
    second = history(
        num_seen=np.array([9.0, 9, 9, 9, 0]),
        num_counted=np.array([9.0, 9, 9, 9, 0]),
        prediction=np.full(5, 2.0),
        mean_loss=np.full(5, 3.0),
        mean_weight=np.zeros(5),
    )
    found = given_runs(monkeypatch, first, second)
    np.testing.assert_allclose(found.mean_loss, [1.5, 2, 2.5, 3, 0])
    np.testing.assert_allclose(found.mean_weight, [0.25, 0.25, 0.25, 0, 0])
    assert (found.num_seen, found.paths, found.noise_rate) == (4, {7: "folder"}, 0.5)
    assert found.suspects.tolist() == [2, 4]
    assert found.suggested.tolist() == [1, 0, 0, 2, 0]  # The last but one from the second run.
    assert found.score is SCORE and found.order.tolist() == [2, 4, 0, 3, 1]
    assert pooled[0].labels is not None and pooled[0].labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("counted", [19.0, None])
def test_a_run_that_forgets_is_scored_by_its_losses(monkeypatch, counted):
    """The columns without decay must cover twenty visits, or all if there were fewer."""
    losses = np.array([0.0, np.log(2), np.log(4), 0, 0])
    forgetful = history(mean_loss=losses, num_counted=np.array([30, 30, counted or 0, 30, 30]))
    if counted is None:
        del forgetful["num_counted"]
        forgetful["num_seen"] = np.ones(5)
    given: list[Any] = []

    def of_losses(*arguments):
        given.extend(arguments)
        return noise(0.0)

    monkeypatch.setattr(noise_rate, "of_losses", of_losses)
    found = given_runs(monkeypatch, forgetful, history(mean_loss=0 * losses))
    np.testing.assert_allclose(found.score, [0, 0.25, 0.375, 0, 0])
    assert given[0].tolist() == LABELS.tolist() and given[1] == 3
    np.testing.assert_allclose(given[2], losses / 2)
    assert found.suggested.tolist() == LABELS.tolist()


def test_enough_visits_count(monkeypatch):
    """Twenty of thirty, or five of five."""
    monkeypatch.setattr(ranking, "label_scores", lambda visits: visits.wrong)
    seen, counted = np.array([30.0, 5, 5, 5, 5]), np.array([20.0, 5, 5, 5, 5])
    wrong = np.array([5.0, 0, 5, 0, 1])
    found = given_runs(monkeypatch, history(num_seen=seen, num_counted=counted, num_wrong=wrong))
    np.testing.assert_allclose(found.score, [0.25, 0, 1, 0, 0.2])
    monkeypatch.setattr(noise_rate, "estimate", lambda labels, number, visits: visits.wrong)
    estimated: Any = label_errors.estimate_noise_rate(
        examples(), 3, [history()], ranking.pooled([history()])
    )
    np.testing.assert_allclose(estimated, [0.1, 0, 1, 0, 0.8])


def test_trusted_samples_decide_the_share(monkeypatch):
    data = examples(trusted=np.array([True, False, True, True, False]))
    found = given_runs(monkeypatch, history(), data=data)
    assert found.noise_rate == pytest.approx(2 / 3)
    np.testing.assert_allclose(found.noise.by_class, [0, 1, 1])
    # Wilson's interval: (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).
    z, root = 1.959964, np.sqrt(2 / 27 + 1.959964**2 / 36)
    limits = [(2 / 3 + z**2 / 6 + sign * z * root) / (1 + z**2 / 3) for sign in (-1, 1)]
    assert (found.noise.low, found.noise.high) == pytest.approx(limits, rel=1e-5)
    one = 1 / (1 + z**2)  # Of a single sample.
    np.testing.assert_allclose(found.noise.range_by_class, [[0, 1 - one], [one, 1], [one, 1]], 1e-5)


def test_runs_and_records_must_have_the_same_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first").mkdir()
    data = examples(images_sha256="1")
    monkeypatch.setattr(records, "read_examples", lambda folder, info, split: data)
    monkeypatch.setattr(labelled_runs, "dataset_info", lambda name, folder: INFO)
    config = {"dataset_name": "own", "data_dir": "first", "data_sha256": data.fingerprint()}
    images = config | {"images_sha256": data.images_sha256}
    assert labelled_runs.read_labels([config, images], ["a", "b"], None) == (INFO, data, "first")
    assert labelled_runs.read_labels([images], ["a"], "moved")[2] == "moved"
    other = config | {"data_sha256": "0"}
    with pytest.raises(InputError, match=r"on the same labels. Received: runs=.'a', 'b'"):
        labelled_runs.read_labels([config, other], ["a", "b"], None)
    second = config | {"data_dir": "second"}
    assert labelled_runs.read_labels([config, second], ["a", "b"], None)[2] == "first"
    moved = images | {"images_sha256": "0"}
    for wrong in ([other], [moved], [images, moved]):
        with pytest.raises(InputError, match="`data_dir` must hold .* Received: data_dir='first'"):
            labelled_runs.read_labels(wrong, ["a", "b"][: len(wrong)], None)
    with pytest.raises(InputError, match="records of the run are not there; --data_dir names"):
        labelled_runs.read_labels([config | {"data_dir": "gone"}], ["a"], None)


def test_a_class_without_a_trusted_sample():
    """It has the share of all, and says that it is not known."""
    data = examples(trusted=np.array([True, False, True, False, False]))
    found = label_errors.estimate_noise_rate(data, 3, [])
    assert found.by_class.tolist() == [0, 1, 0.5]
    assert found.range_by_class[2].tolist() == [0, 1]
    assert found.of_class(2) == "50.0% (between 0.0% and 100.0%)"


def test_one_earlier_history_is_not_that_of_all_visits(monkeypatch):
    """Of two runs, one is ranked by the checkpoint that it kept."""
    monkeypatch.setattr(ranking, "label_scores", lambda visits: SCORE)
    told = dataclasses.replace(noise(0.5), source=noise_rate.ALL_VISITS)
    monkeypatch.setattr(noise_rate, "estimate", lambda labels, number, visits: told)
    assert given_runs(monkeypatch, history(), history()).noise.source == noise_rate.ALL_VISITS
    kept = history()

    def ranked(run, config, last):
        return (kept if run == "0" else last), ""

    monkeypatch.setattr(label_errors, "ranking_history", ranked)
    source = label_errors.score_labels(["0", "1"]).noise.source
    assert source == "the visits before labels were memorised"


def test_one_visit_is_enough(monkeypatch):
    """The first sample was seen once, the second never."""
    monkeypatch.setattr(ranking, "label_scores", lambda visits: SCORE)
    monkeypatch.setattr(noise_rate, "estimate", lambda labels, number, visits: noise(0.0))
    seen = np.array([1.0, 0, 30, 30, 30])
    run = history(num_seen=seen, num_counted=seen, num_wrong=0 * seen, prediction=0 * seen + 2)
    found = given_runs(monkeypatch, run)
    assert found.num_seen == 4 and found.suggested.tolist() == [2, 1, 2, 2, 2]


def test_labels_are_ranked_by_the_history_that_was_chosen(monkeypatch):
    """That from before memorisation, here; these histories have only losses."""
    told = dataclasses.replace(noise(0.5), source=noise_rate.ALL_VISITS)
    monkeypatch.setattr(noise_rate, "of_losses", lambda *arguments: told)
    last = history(num_counted=np.zeros(5))
    found = given_runs(monkeypatch, last)
    assert (found.noise.source, found.notes) == (noise_rate.ALL_VISITS, ())
    kept = last | {"mean_loss": np.full(5, np.log(4))}
    chosen = lambda run, config, last: (kept, f"{run}: kept")  # noqa: E731
    monkeypatch.setattr(label_errors, "ranking_history", chosen)
    found = label_errors.score_labels(["0"])
    np.testing.assert_allclose(found.score, 0.75)
    assert found.noise.source == "the visits before labels were memorised"
    assert found.notes == ("0: kept",)
