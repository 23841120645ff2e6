"""The benchmarks run without errors; small versions of those on the digits show what they claim.

What `run.py` and `scaling.py` measure is not checked.
"""

import dataclasses
import importlib
import itertools
import json
import types
from typing import Any

import helpers
import numpy as np
import pytest
from absl import flags
from helpers import ROOT, warm_server

from mentornet import InputError
from mentornet.cleaning import label_errors, labelled_runs
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.students.networks import airbench
from mentornet.training import loop

STUDENT = "helpers:small_network"
RATIOS = {
    f"{STUDENT}_over_arithmetic",
    "airbench93_bfloat16_over_arithmetic",
    "mentored_over_unweighted",
    "mentored_over_stock",
    "script_over_bare",
    "eval_over_forward",
    "pipeline_images_per_s",
    "weighting_ms",
    "help_s",
    "first_step_s",
    "resnet101_mentored_over_bare",
    "recomputed_over_kept",
    "recomputed_memory_saved",
    "streamed_over_memory",
    "streamed_more_mb",
}


pytestmark = pytest.mark.slow


def run(name, folder):
    """Memory and start-up, which it measures, are those of programs that are warm."""
    server = warm_server()
    script, flags = ROOT / f"benchmarks/{name}.py", ["--quick", f"--output_dir={folder}"]
    environment = {"WARM_PYTHON": server.python()}
    environment |= {"BENCHMARK_BATCH": "16", "BENCHMARK_STUDENT": STUDENT}
    status, _, output = server.run(script, *flags, seconds=900, **environment)
    assert status == 0, output


def test_scaling(tmp_path):
    run("scaling", tmp_path)
    rows = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    kinds = ("batch 32", "1000 classes", "2 devices", "bfloat16", "weighting", "streaming")
    assert all(any(row[0].startswith(kind) for row in rows) for kind in kinds)


def test_ratios(tmp_path):
    run("run", tmp_path)
    ratios = json.loads((tmp_path / "benchmarks.json").read_text())["ratios"]
    assert ratios.keys() >= RATIOS
    may_be_negative = {"recomputed_memory_saved", "streamed_more_mb"}  # Of so small a measurement.
    assert all(ratios[name] > 0 for name in RATIOS - may_be_negative)


def test_a_row_is_printed_before_the_next_is_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    benchmark = importlib.import_module("run")

    def part(quick, samples):
        yield "history_ms", 2.0
        assert capsys.readouterr().out == "history_ms 2 at most 1 no\n"
        yield "weighting_ms", 0.5

    monkeypatch.setattr(benchmark, "PARTS", {"part": part})
    chosen = types.SimpleNamespace(output_dir=str(tmp_path), only=[], quick=True)
    monkeypatch.setattr(benchmark, "FLAGS", chosen)
    benchmark.main()
    assert capsys.readouterr().out == "weighting_ms 0.5 at most 1 yes\n"
    ratios = json.loads((tmp_path / "benchmarks.json").read_text())["ratios"]
    assert ratios == {"history_ms": 2.0, "weighting_ms": 0.5}


def tables(name, *flags):
    """The tables that a benchmark prints, each a list of lines {column: cell}."""
    script = ROOT / f"benchmarks/{name}.py"
    status, _, output = warm_server().run(script, "--seeds=1", *flags, seconds=900)
    assert status == 0, output
    found: list[list[dict[str, str]]] = []
    rows = [line.strip("| ").split(" | ") for line in output.splitlines() if line[:2] == "| "]
    for row, following in itertools.pairwise([*rows, []]):
        if following[:1] == ["---"]:
            head = row
            found.append([])
        elif row[0] != "---":
            found[-1].append(dict(zip(head, row, strict=True)))
    return found


@pytest.fixture(scope="module")
def labelled(digits, tmp_path_factory):
    """A run of ten passes over 200 images, 40 % of whose labels are drawn anew, with a history."""
    folder = tmp_path_factory.mktemp("labelled") / "one"
    values = {"studentnet": "helpers:small_student", "record_sample_weights": True}
    values |= {"batch_size": 40, "max_number_of_steps": 50, "log_every_steps": 50}
    loop.train(helpers.config(digits, folder / "train", **values, learning_rate=0.02))
    return folder


def found_in(name, run_dir, folder, *further):
    """What a benchmark of a run's history writes as JSON; it prints what it writes as a table."""
    script = ROOT / f"benchmarks/{name}.py"
    status, _, output = warm_server().run(
        script, run_dir, f"--output_dir={folder}", *further, seconds=900
    )
    assert status == 0, output
    assert output.endswith((folder / f"{name}.md").read_text())
    return json.loads((folder / f"{name}.json").read_text())


def share_in_order(score, wrong):
    """AUC as the share of pairs in the right order."""
    pairs = score[wrong][:, None] - score[~wrong]
    return np.mean(pairs > 0) + np.mean(pairs == 0) / 2


def test_label_scores(labelled, tmp_path):
    *rows, estimate = found_in("label_scores", labelled, tmp_path)["rows"]
    scores = label_errors.score_labels([str(labelled)])
    wrong = scores.examples.labels != scores.examples.clean_labels
    _, columns = labelled_runs.read_run(str(labelled))
    expected = {
        "decayed loss": columns["mean_loss"],
        "wrong events": columns["num_wrong"] / 10,
        "mean margin of logits (AUM)": -columns["mean_margin"],
        "label score (used)": scores.score,
    }
    found = {row["score"]: row["AUC"] for row in rows}
    assert len(found) == 7 and all(auc > 0.7 for auc in found.values())
    for name, score in expected.items():
        assert found[name] == pytest.approx(share_in_order(score, wrong)), name
    assert {(row["wrong"], row["visits"]) for row in rows} == {(wrong.mean(), 10)}
    assert estimate["estimate"] == pytest.approx(scores.noise_rate)


def test_label_errors(labelled, tmp_path):
    """cleanlab's scores, of held-out predictions, find wrong labels as well."""
    found = found_in("label_errors", labelled, tmp_path)
    own, *others = found["rows"]
    scores = label_errors.score_labels([str(labelled)])
    wrong = scores.examples.labels != scores.examples.clean_labels
    assert (own["scores"], own["steps"], found["folds"]) == ("one", 50, 5)
    assert own["AUC"] == pytest.approx(share_in_order(scores.score, wrong))
    names = [row["scores"] for row in others]
    assert names == ["cleanlab, self_confidence", "cleanlab, normalized_margin"]
    assert all(row["AUC"] > 0.6 for row in others)
    # Folds as long as the run; the rows of the first call stay.
    rows = found_in("label_errors", labelled, tmp_path, "--full_folds")["rows"]
    assert rows[:3] == found["rows"]
    assert [(row["scores"], row["steps"]) for row in rows[3:]] == [(name, 250) for name in names]
    assert all(row["AUC"] > 0.6 for row in rows[3:])


def test_trusted_samples_compare_runs(labelled, monkeypatch):
    """Of ten samples five are trusted; the run is right about one of the two wrong ones."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    trusted = importlib.import_module("trusted")
    config, columns = labelled_runs.read_run(str(labelled))
    data = labelled_runs.read_labels([config], [str(labelled)], None)[1]
    wrong = np.flatnonzero(data.labels != data.clean_labels)[:2]
    right = np.flatnonzero(data.labels == data.clean_labels)[:3]
    marked = np.zeros(len(data.labels), bool)
    marked[[*wrong, *right]] = True
    predictions = columns["prediction"].copy()
    predictions[[wrong[0], *right]] = data.clean_labels[[wrong[0], *right]]
    predictions[wrong[1]] = data.labels[wrong[1]]
    data = dataclasses.replace(data, trusted=marked)
    read = config, columns | {"prediction": predictions}
    monkeypatch.setattr(labelled_runs, "read_run", lambda run_dir: read)
    monkeypatch.setattr(labelled_runs, "read_labels", lambda *args: (None, data))
    name, number, found, of_all, expected, lost = trusted.line("run")
    assert (name, number, found, of_all) == ("run", "2", "50.0%", "80.0%")
    assert all(0 <= float(text.removesuffix("%")) < 50 for text in (expected, lost))
    unknown = dataclasses.replace(data, clean_labels=np.where(marked, data.clean_labels, -1))
    for other, message in (
        (dataclasses.replace(data, trusted=~marked & False), "Some trusted samples"),
        (unknown, "The clean label of every sample must be known"),
    ):
        monkeypatch.setattr(labelled_runs, "read_labels", lambda *args, own=other: (None, own))
        with pytest.raises(InputError, match=message):
            trusted.line("run")


def test_auto_beats_no_weighting(tmp_path):
    """What each seed reached is written, beside the rows of other settings."""
    path = tmp_path / "automatic.json"
    of_others: dict[str, Any] = {"noise": "uniform:0.4", "column": "auto", "augment": True}
    of_others |= {"ema_decay": None, "steps": 330}
    path.write_text(json.dumps({"rows": [of_others]}))
    only = "--only=no weighting,auto", f"--output_dir={tmp_path}"
    ((line,), _) = tables("automatic", "--noise=uniform:0.4", "--steps=330", *only)
    assert float(line["auto"]) > float(line["no weighting"]) + 0.05, line
    kept, *rows = json.loads(path.read_text())["rows"]
    assert kept == of_others and [row["column"] for row in rows] == ["no weighting", "auto"]
    for row in rows:
        (accuracy,) = row["last accuracy"]
        assert float(line[row["column"]]) == pytest.approx(accuracy, abs=1e-3)
        assert row["worst class"][0] <= accuracy and not row["augment"]


def test_label_wave_beats_the_last_step():
    ((line,), _) = tables("automatic", "--noise=uniform:0.4", "--steps=550", "--label_wave")
    assert float(line["last"]) + 0.03 < float(line["label wave"]), line
    assert float(line["best"]) < float(line["label wave"]) + 0.08, line


def test_a_mentornet_with_the_history_beats_one_without():
    """With fewer steps, rounding decides: little is memorised."""
    only = "--only=loss (DD)", "--only=history"
    ranked, reached, last = tables("data_driven", "--noise=0.8", "--noupdated", *only)
    loss, history = (float(line["60 %: weights / loss"].split(" / ")[0]) for line in ranked)
    assert history > loss + 0.05
    loss, history = (float(line["accuracy"].split(" ± ")[0]) for line in reached)
    assert history > loss + 0.1
    loss, history = (float(line["predicted as given"]) for line in last)
    assert history < loss - 0.1


def imported(name, monkeypatch):
    """A file of benchmarks/ without its flags, whose names others define, too."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for kind in ("boolean", "list", "string"):
        monkeypatch.setattr(flags, f"DEFINE_{kind}", lambda *_: None)
    return importlib.import_module(name)


def test_steps_take_turns(monkeypatch):
    """Which of the two is first changes, and the first two rounds do not count."""
    measuring, calls = imported("measuring", monkeypatch), [""]
    clock = types.SimpleNamespace(perf_counter=lambda: len(calls) ** 2)  # Call n lasts 2 n + 1.
    monkeypatch.setattr(measuring, "time", clock)
    steps = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    assert measuring.take_turns(steps, 2) == {"a": [13, 15], "b": [11, 17]}
    assert "".join(calls) == "baabbaab"


def test_multiplications_by_hand(monkeypatch):
    """Of two convolutions, the second of which is not trained, and a dense layer."""

    def layer(places, kernel, trainable=True):
        parts = types.SimpleNamespace(shape=kernel, trainable=trainable)
        output = types.SimpleNamespace(shape=(None, *places, kernel[-1]))
        return types.SimpleNamespace(output=output, kernel=parts)

    layers = [layer((4, 5), (3, 3, 2, 8)), layer((6, 6), (2, 2, 3, 4), False), layer((), (8, 10))]
    student = types.SimpleNamespace(layers=[types.SimpleNamespace(), *layers])
    found = imported("arithmetic", monkeypatch).multiplications(student)
    assert found == pytest.approx(20 * 144 + 36 * 48 / 3 + 80)


def test_what_is_aimed_at_is_reached_or_not(monkeypatch):
    script = imported("run", monkeypatch)
    targets = {"most": ("at most", 1.05), "least": ("at least", 0.9)}
    monkeypatch.setattr(script, "TARGETS", targets)
    measured = ("most", 1.05), ("most", 1.06), ("least", 0.9), ("least", 0.89), ("other", 1.23456)
    assert [script.judge(*each) for each in measured] == [
        ["most", "1.05", "at most 1.05", "yes"],
        ["most", "1.06", "at most 1.05", "no"],
        ["least", "0.9", "at least 0.9", "yes"],
        ["least", "0.89", "at least 0.9", "no"],
        ["other", "1.235", "", ""],
    ]


def test_a_fold_has_a_fifth_of_the_schedule(monkeypatch):
    """And neither weights nor what goes with them."""
    fold_config = imported("label_errors", monkeypatch).fold_config
    mentored: dict[str, Any] = {"weighting": WeightingConfig(), "record_sample_weights": True}
    mentored |= {"trained_mentornet_dir": "mentornet_pd", "keep_best": "label_wave"}
    config = TrainConfig(
        "d", "t", max_number_of_steps=52, learning_rate_boundaries=(2, 4, 21, 30), **mentored
    )
    run_of_json = json.loads(json.dumps(dataclasses.asdict(config)))
    found = fold_config(run_of_json, 5)
    assert (found.max_number_of_steps, found.learning_rate_boundaries) == (10, (1, 4, 6))
    assert (found.weighting, found.record_sample_weights, found.keep_best) == (None, False, None)
    assert found.num_epochs_per_decay is None
    decayed = run_of_json | {"num_epochs_per_decay": 12.5}
    assert fold_config(decayed, 5).num_epochs_per_decay == pytest.approx(12.5 / 4)  # Of 4/5.
    published = run_of_json | {"studentnet": "inception", "learning_rate_boundaries": []}
    assert fold_config(published, 5).num_epochs_per_decay == pytest.approx(50 / 4)
    whole = fold_config(run_of_json, 1)
    assert (whole.max_number_of_steps, whole.learning_rate_boundaries) == (52, (2, 4, 21, 30))


def test_rows_of_other_settings_stay(tmp_path, monkeypatch):
    settings = imported("settings", monkeypatch)
    monkeypatch.setattr(settings.script, "load_tensorflow", lambda: None)
    monkeypatch.setattr(settings, "settings", lambda labels, steps: {"PD": {}, "other": {}})
    monkeypatch.setattr(settings, "line", lambda labels, name, *_: [labels, name, 0.5])
    monkeypatch.setattr("mentornet.datasets.records.read_examples", lambda *_: range(5120))
    monkeypatch.setattr("mentornet.datasets.catalog.dataset_info", lambda *_: None)
    monkeypatch.setitem(airbench.student, "airbench93", None)  # It is the usual one afterwards.
    chosen = types.SimpleNamespace(labels=["0.4"], data_dir="d", output_dir=str(tmp_path))
    monkeypatch.setattr(settings, "FLAGS", chosen)
    kept = tmp_path / "settings.json"
    kept.write_text(json.dumps({"rows": [["0.8", "PD", 0.1], ["0.4", "PD", 0.2]]}))
    settings.main("runs")
    rows = json.loads(kept.read_text())["rows"]
    assert rows == [["0.8", "PD", 0.1], ["0.4", "PD", 0.5], ["0.4", "other", 0.5]]


@pytest.mark.parametrize("labels", ["0.4", "0.8"])
def test_each_setting_changes_one_thing(labels, monkeypatch):
    """Compared with no weighting, or with PD, under its own name."""
    found = imported("settings", monkeypatch).settings(labels, 100)
    assert found["no weighting"] == {} and len({str(each) for each in found.values()}) == len(found)
    for name, values in found.items():
        base = found[name.partition(",")[0]]
        if name in ("no weighting", "PD"):
            continue
        changed = [key for key in values if key != "weighting" and values[key] != base.get(key)]
        if "weighting" in base:
            old, new = (dataclasses.asdict(each["weighting"]) for each in (base, values))
            changed += [key for key in old if old[key] != new[key]]
        assert len(changed) == 1, (name, changed)
