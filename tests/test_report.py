"""The report's tables: only full runs are listed with published numbers."""

import dataclasses
import importlib
import json
import pathlib
import re
import types
from typing import Any

import numpy as np
import pytest
from helpers import ROOT
from matplotlib.figure import Figure

from mentornet import InputError
from mentornet.cleaning import labelled_runs
from mentornet.config import options
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.datasets import catalog, records
from mentornet.runs.reader import Result, read_results


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "commands")
    return importlib.import_module("report")


def write_run(folder, seed, accuracies, steps=39000, num_examples=50_000, done=True):
    config = {
        "dataset_name": "cifar10",
        "data_dir": "data/cifar10/0.4",
        "studentnet": "resnet101",
        "batch_size": 128,
        "max_number_of_steps": steps,
        "num_examples": num_examples,
        "seed": seed,
        "augment": None,
        "weighting": {"loss_p_percentile": 0.75},
        "trained_mentornet_dir": "mentornet_models/models/mentornet_pd1_g_1/mentornet_pd",
        "mentornet_update_epochs": [],
    }
    for name in ("train", "eval_val"):
        (folder / name).mkdir(parents=True)
    (folder / "train" / "config.json").write_text(json.dumps(config))
    # 100 steps at 128 images/s, 100 at 256: 150 seconds.
    rows = [{"step": 100, "images_per_second": 128.0}, {"step": 200, "images_per_second": 256.0}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train" / "metrics.jsonl").write_text(lines)
    count = len(accuracies)
    last = steps if done else steps - 1
    rows = [
        {"step": last - 10 * (count - 1 - i), "eval/accuracy": a} for i, a in enumerate(accuracies)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "eval_val" / "eval.jsonl").write_text(lines)


def test_full_runs_beside_published_numbers(report, tmp_path):
    write_run(tmp_path / "a", 0, [0.5, 0.9, 0.8, 0.7, 0.6, 0.76])
    write_run(tmp_path / "b", 1, [0.5, 0.8, 0.8, 0.7, 0.6, 0.78])
    results = read_results(tmp_path)
    assert all(map(report.is_full, results))
    header, lines = report.full_table(results)
    row = dict(zip(header[:7], lines[0][:7], strict=True))
    assert row["method"] == "mentornet_pd"
    assert row["last"] == "0.770 ± 0.014"
    assert row["best"] == "0.850 ± 0.071"
    assert row["mean of last 5"] == "0.744 ± 0.011"
    # The release's README has 0.776, the paper 0.77.
    assert lines[0][7:11] == [0.776, "-0.006", 0.77, "+0.000"]
    assert lines[0][11:] == ["0, 1", "2.5", "192"]


def test_shortened_runs_stand_apart(report, tmp_path):
    write_run(tmp_path / "full", 0, [0.7])
    write_run(tmp_path / "short", 0, [0.6], steps=3900)
    write_run(tmp_path / "small", 0, [0.5], num_examples=10_000)
    write_run(tmp_path / "unfinished", 0, [0.4], done=False)
    titles: dict[str, list[str]] = {}
    for title, _, (_, lines), _ in report.sections(read_results(tmp_path)):
        titles.setdefault(title.partition(":")[0], []).append(str(lines))
    assert {title: len(parts) for title, parts in titles.items()} == {
        "Full runs": 1,
        "Reduced": 2,
        "Unfinished runs": 1,
    }
    assert "0.700" in titles["Full runs"][0] and "0.776" not in "".join(titles["Reduced"])
    assert "0.600" in titles["Reduced"][0] + titles["Reduced"][1]
    assert "38999" in titles["Unfinished runs"][0]


def test_nothing_to_report(tmp_path):
    with pytest.raises(InputError, match="must hold evaluated runs"):
        read_results(tmp_path)


def test_the_kept_results_are_whole(report, monkeypatch):
    """The tables in results/ agree with the files of the runs; the curves are not drawn."""
    monkeypatch.setattr(report, "draw_curves", lambda runs: None)
    results = read_results(ROOT / "results")
    kept = (ROOT / "results" / "results.md").read_text()
    for title, note, table, _ in report.sections(results):
        assert f"## {title}\n\n{note}\n" in kept
        assert report.pages.markdown_table(*table) in kept


def numbers_in(page, sentence):
    """The numbers at the places `#` of a sentence of a page, and how many decimals each has."""
    text = " ".join((ROOT / page).read_text().split())
    found = re.search(re.escape(sentence).replace(r"\#", r"(\d+(?:\.\d+)?)"), text)
    assert found, f"{page} does not say: {sentence}"
    return [(float(number), len(number.partition(".")[2])) for number in found.groups()]


def test_what_the_pages_say_of_the_kept_results():
    """Sentences of README and of the summary of docs/results.md, with the numbers of results/."""
    accuracies: dict[tuple[Any, ...], list[float]] = {}
    for result in read_results(ROOT / "results"):
        if not result.name.startswith("grid/"):
            data, noise, student, *_ = result.setting
            key = noise, result.method_without_options, result.epochs, data, student
            accuracies.setdefault(key, []).append(result.accuracies[-1])

    def mean(noise, method, epochs=30, data="cifar10", student="airbench93"):
        return np.mean(accuracies[noise, method, epochs, data, student])

    def gain(noise, method, epochs=30):
        return 100 * (mean(noise, method, epochs) - mean(noise, "baseline", epochs))

    pd, dd, mix = "mentornet_pd", "mentornet_dd", "mentormix"
    uniform, long = ("0.2", "0.4", "0.8"), ("0.4", "0.8", "worse_label")
    of_pd = [gain(noise, pd) for noise in long]
    of_auto = [gain(noise, "mentornet_pd, auto") for noise in long]
    of_mixup = [gain(noise, "mixup") for noise in long]
    of_mix = [gain(noise, mix) for noise in ("0.4", "0.8")]
    of_dd = [gain(noise, dd) for noise in ("0.4", "worse_label")]
    mild = "0.2", "0.4", "aggre_label", "worse_label"
    short = [gain(noise, method, 8) for noise in mild for method in (pd, dd)]
    harm = {method: -gain("0.8", method, 8) for method in (pd, "self_paced", dd)}
    cifar100 = {m: [mean(noise, m, 8, "cifar100") for noise in uniform] for m in ("baseline", pd)}
    lost = 100 * (mean("0", "baseline", 8) - mean("0.2", "baseline", 8))
    memorising = [mean("0.4", method, 38, student="resnet8") for method in ("mixup", dd, mix)]
    highest = max(*of_pd, *of_auto, *of_mix, *of_dd)
    lowest = min(*of_pd, *of_auto, *of_mix, *of_dd)
    readme = {
        "PD is # points ahead of the baseline at 0.4 (two seeds), # at 0.8 and # on": of_pd,
        "told nothing about the noise, is ahead by #, # and # (": of_auto,
        "the clean labels of 10 % of the samples, gains # points at 0.4 and # on": of_dd,
        "MentorMix gains # at 0.4 and # at 0.8, mixup # at 0.4, # at 0.8 and # on": of_mix
        + of_mixup,
        "`airbench94` has # under PD": [mean("0.4", pd, student="airbench94")],
        "PD and DD are between # points behind and # ahead (# for DD with updates at 0.4);": [
            *(-min(short), max(short)),
            gain("0.4", "mentornet_dd, updated", 8),
        ],
        "the baseline is only # points below": [lost],
        "At 0.8 PD costs # points, self-paced learning # and DD #,": harm.values(),
        "under asymmetric noise PD costs #,": [-gain("asymmetric_0.4", pd, 8)],
        "at 0.2 (# and 0.624) and ahead at 0.4 (# and 0.448) and 0.8 (# and": cifar100["baseline"],
        "PD is behind everywhere: #, # and #;": cifar100[pd],
        "weights has # at 0.2 in ten": [mean("0.2", "baseline", 10, "cifar100", "airbench94")],
        "one seed), ends at #.": [mean("0.8", "baseline", 307, student="inception")],
        "plain mixup at #, under DD at #, and with MentorMix at #": memorising,
    }
    summary = {
        "in 30 epochs by # to # points at 0.4, at 0.8 and on human labels": [lowest, highest],
        "(mixup by # at 0.4, # at 0.8 and # on human labels)": of_mixup,
        "in eight epochs on CIFAR-10 by at most # (": [max(short)],
        "at noise 0.8 PD costs # and DD # |": [harm[pd], harm[dd]],
        "`auto` gains # points in 30 epochs at 0.4, # at 0.8 and # on human labels,": of_auto,
        "on human labels, fixed settings #, # and #;": of_pd,
    }
    for page, sentences in (("README.md", readme), ("docs/results.md", summary)):
        for sentence, values in sentences.items():
            for (said, decimals), value in zip(numbers_in(page, sentence), values, strict=True):
                rounded = 0.5001 * 10**-decimals  # Either neighbour, if halfway.
                assert abs(said - value) <= rounded, (page, sentence, said, value)


def test_the_page_of_label_scores_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    label_scores = importlib.import_module("label_scores")
    rows = json.loads((ROOT / "results" / "label_scores.json").read_text())["rows"]
    assert label_scores.tables(rows) == (ROOT / "results" / "label_scores.md").read_text()


def test_the_kept_comparison_with_cleanlab(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    label_errors = importlib.import_module("label_errors")
    rows = json.loads((ROOT / "results" / "label_errors.json").read_text())["rows"]
    assert label_errors.table(rows) == (ROOT / "results" / "label_errors.md").read_text()


def test_label_scores_of_two_students_are_kept_apart(monkeypatch):
    """Runs of the same name on the same data, in different folders."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    label_scores = importlib.import_module("label_scores")
    config = {"data_dir": "data/cifar10/0.4", "num_classes": 3}
    labels, counts = np.arange(6) % 2, np.full(6, 4.0)
    clean = np.where(np.arange(6) == 0, 1, labels)
    examples = types.SimpleNamespace(labels=labels, clean_labels=clean)
    columns = {"num_counted": counts, "num_wrong": 4.0 * (labels != clean), "mean_loss": counts}
    names = ("mean_given", "mean_other", "mean_margin", "prediction", "other_class")
    columns |= dict.fromkeys(names, np.arange(6.0) % 3)
    monkeypatch.setattr(
        labelled_runs,
        "read_run",
        lambda run: (config | {"studentnet": pathlib.Path(run).parent.name}, columns),
    )
    monkeypatch.setattr(labelled_runs, "read_labels", lambda *arguments: (None, examples, ""))
    monkeypatch.setattr(labelled_runs, "train_folder", lambda run: pathlib.Path(run, "train"))
    found = [label_scores.evaluate(run, last=True)[0]["run"] for run in ("mlp/pd_0", "cnn/pd_0")]
    assert found == ["cifar10/mlp/0.4/pd_0", "cifar10/cnn/0.4/pd_0"]


@pytest.mark.parametrize(
    "path,name",
    [
        ("/tmp/spcl/model", "spcl"),
        ("runs/steady_mentornet", "steady"),
        ("model", "model"),
        ("/model", "model"),
    ],
)
def test_names_of_curricula_of_ones_own(path, name):
    config = {"trained_mentornet_dir": path, "mentornet_update_epochs": []}
    config |= {"weighting": {"loss_p_percentile": 0.75}}
    assert Result("run", config, [], []).method == name


def test_auto_is_a_method_of_its_own():
    common = {"trained_mentornet_dir": "mentornet_pd", "mentornet_update_epochs": []}
    for percentile, name in ((0.75, "mentornet_pd"), ("auto", "mentornet_pd, auto")):
        config = common | {"weighting": {"loss_p_percentile": percentile}}
        assert Result("run", config, [], []).method == name
    updated = {"trained_mentornet_dir": "a/steady_mentornet", "mentornet_update_epochs": [21]}
    for percentile, name in ((0.75, "steady, updated"), ("auto", "steady, auto, updated")):
        result = Result("run", updated | {"weighting": {"loss_p_percentile": percentile}}, [], [])
        assert result.method == name


def test_names_of_other_weightings():
    config = {"weighting": {"name": "gce", "options": {"q": 0.5}}, "mixup": None}
    result = Result("run", config, [], [])
    assert (result.method, result.method_without_options) == ("gce, q 0.5", "gce")
    mixed = config | {"mixup": {"alpha": 2.0, "second_reweight": False}}
    result = Result("run", mixed, [], [])
    assert (result.method, result.method_without_options) == ("mixup, gce, q 0.5", "mixup, gce")


def test_weights_are_drawn_for_every_method_that_has_any(report, monkeypatch):
    """Whatever its name; but not those of a baseline, which are 1."""

    def result(name, weights):
        config = {"weighting": name and {"name": name, "options": {}}, "mixup": None}
        key = "sample_weights/mean_corrupted"
        rows = [{"step": step, key: weight} for step, weight in enumerate(weights)]
        return Result("run", config, rows, [{"step": 3, "eval/accuracy": 0.5}])

    drawn = []
    monkeypatch.setattr(report, "_draw", lambda panels: drawn.extend(panels))
    report.draw_curves([result(None, [1, 1]), result("gce", [1, 0.9]), result("own:make", [0.4])])
    report.draw_curves([result("self_paced", [])])  # Its records hold no clean labels.
    assert [title for title in drawn if "weight" in title] == [
        "mean weight, gce",
        "mean weight, own:make",
    ]


def test_what_differs_is_named(report, tmp_path):
    """Runs with other settings are not further seeds; what only one recorded does not count.

    Runs of another precision are compared, too.
    """
    pd = {"loss_p_percentile": 0.7}
    for number, (name, seed, values) in enumerate(
        (
            ("a", 0, {"weighting": pd}),
            ("b", 1, {"weighting": pd}),
            ("c", 0, {"weighting": {"loss_p_percentile": 0.5}}),
            ("d", 0, {"weighting": pd, "weight_decay": 0.1}),
            ("dd", 0, {"weighting": {"loss_p_percentile": 0.3}, "mixed_precision": "bfloat16"}),
            ("e", 0, {"weighting": None, "label_smoothing": 0.2}),
            ("f", 0, {"weighting": None, "label_smoothing": 0.0}),
            ("g", 0, {"weighting": None, "mixup": {"alpha": 1}, "ema_decay": None}),
            ("h", 0, {"weighting": None, "mixup": {"alpha": 1}, "ema_decay": 0.9}),
        )
    ):
        write_run(tmp_path / name, seed, [0.5 + 0.1 * number])
        path = tmp_path / name / "train" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
    runs = read_results(tmp_path)
    assert [run.method for run in runs] == [
        "mentornet_pd, percentile 0.7",
        "mentornet_pd, percentile 0.7",
        "mentornet_pd, percentile 0.5",
        "mentornet_pd, percentile 0.7",
        "mentornet_pd, percentile 0.3, bfloat16",
        "baseline, label_smoothing 0.2",
        "baseline, label_smoothing 0.0",
        "mixup, ema_decay None",
        "mixup, ema_decay 0.9",
    ]
    lines = report.full_table(runs)[1]
    shown = {(line[3], line[4]): line[7] for line in lines}
    assert shown["mentornet_pd, percentile 0.5", "0.700"] == 0.776


def test_each_field_tells_runs_apart_or_makes_them_seeds(tmp_path):
    """Only what changes random draws, rounding, speed or files makes no other variant."""
    seeds = {
        *("seed", "deterministic", "jit_compile", "record_sample_weights", "keep_best"),
        *("num_devices", "cluster_timeout_secs", "recompute_gradients", "steps_per_loop"),
        *("save_summaries_secs", "save_interval_secs", "save_interval_steps", "log_every_steps"),
        *("max_to_keep", "stop_after_step", "overwrite", "train_log_dir"),
        "trained_mentornet_dir",  # Another folder of the same name, as when each seed learns one.
    }
    pd = WeightingConfig(0.5)
    config = TrainConfig("d/0.4", "t/train", weighting=pd, trained_mentornet_dir="a/pd")
    usual = dataclasses.asdict(config) | {"num_examples": 1000}
    other = {"trained_mentornet_dir": "b/pd"}
    for field in options.fields(TrainConfig):
        if field.is_nested:
            continue
        value = other.get(field.name, f"{usual[field.name]}x")
        folders = [tmp_path / field.name / name for name in ("a", "b")]
        for folder, values in zip(folders, (usual, usual | {field.name: value}), strict=True):
            write_run(folder, 0, [0.5])
            (folder / "train" / "config.json").write_text(json.dumps(values))
        a, b = read_results(tmp_path / field.name)
        same = (a.setting, a.method) == (b.setting, b.method)
        assert same == (field.name in seeds), field.name


def test_a_run_of_an_earlier_version_hides_no_difference(tmp_path):
    """It lacks a setting in which others differ."""
    usual = dataclasses.asdict(TrainConfig("d/0.4", "t/train", mixed_precision="float32"))
    usual |= {"num_examples": 1000}
    for folder, values in (("a", {}), ("b", {"ema_decay": 0.5}), ("c", {"ema_decay": 0.9})):
        write_run(tmp_path / folder, 0, [0.5])
        config = {k: v for k, v in usual.items() if k != "ema_decay"} | values
        (tmp_path / folder / "train" / "config.json").write_text(json.dumps(config))
    methods = [run.method for run in read_results(tmp_path)]
    assert methods == ["baseline", "baseline, ema_decay 0.5", "baseline, ema_decay 0.9"]


def test_a_column_of_the_checkpoints_that_were_kept(report, tmp_path):
    """Of the run that kept one; the step stands in its last row."""
    for name, seed in (("a", 0), ("b", 1)):
        write_run(tmp_path / name, seed, [0.5, 0.9, 0.7], num_examples=1000)
    with (tmp_path / "b" / "train" / "metrics.jsonl").open("a") as file:
        row = {"step": 39000, "images_per_second": 1.0, "label_wave/kept_step": 38990.0}
        file.write(json.dumps(row) + "\n")
        weights = {"sample_weights/mean_clean": 0.9, "sample_weights/mean_corrupted": 0.2}
        dropped = dict.fromkeys(weights, 0.0) | {"debug/dropout_rate": 1.0}  # By the default, 5 %.
        rows = (39000, {"sample_weights/mean_clean": 0.8}), (39001, {"debug/dropout_rate": 0.9})
        for step, changed in (*rows, (39002, dropped)):
            row = {"step": step, "images_per_second": 1.0, **weights, **changed}
            file.write(json.dumps(row) + "\n")
    a, b = read_results(tmp_path)
    assert "label wave" not in report.comparison_table([a])[0]
    header, lines = report.comparison_table([a, b])
    row = dict(zip(header, lines[0], strict=True))
    assert (row["label wave"], row["last"]) == ("0.900", "0.700 ± 0.000")
    assert (row["mean weight, clean"], row["mean weight, corrupted"]) == ("0.900", "0.200")
    assert row["corrupted labels predicted as given"] is None


def test_a_kept_checkpoint_is_not_the_last_of_a_run_that_was_killed(report, tmp_path):
    write_run(tmp_path, 0, [0.5, 0.6], num_examples=1000, done=False)
    with (tmp_path / "train" / "metrics.jsonl").open("a") as file:
        row = {"step": 38999, "images_per_second": 1.0, "label_wave/kept_step": 39000.0}
        file.write(json.dumps(row) + "\n")
    with (tmp_path / "eval_val" / "eval.jsonl").open("a") as file:
        file.write(json.dumps({"step": 39000, "eval/accuracy": 0.9, "kept": True}) + "\n")
    (result,) = read_results(tmp_path)
    assert not result.is_done and result.last_step == 38999
    assert result.accuracies.tolist() == [0.5, 0.6]
    assert result.kept_accuracy == 0.9


def test_runs_and_evaluations_are_put_in_order(tmp_path):
    """By number; runs without a log, or of which only a kept checkpoint was evaluated, are not."""
    for name in ("run_10", "run_9", "kept", "fresh"):
        write_run(tmp_path / name, 0, [0.5, 0.6])
    file = tmp_path / "run_9" / "eval_val" / "eval.jsonl"
    file.write_text("".join(f"{line}\n" for line in file.read_text().splitlines()[::-1]))
    row = {"step": 39000, "eval/accuracy": 0.9, "kept": True}
    (tmp_path / "kept" / "eval_val" / "eval.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "fresh" / "train" / "metrics.jsonl").write_text("")
    results = read_results(tmp_path)
    assert [result.name for result in results] == ["run_9", "run_10"]
    assert results[0].is_done and results[0].accuracies.tolist() == [0.5, 0.6]


def test_speed_and_kept_checkpoint_by_hand():
    """The median of three rows; the checkpoint that the last row names."""
    rows = [
        {"step": step, "images_per_second": rate, "label_wave/kept_step": kept}
        for step, rate, kept in ((10, 1.0, 10.0), (20, 10.0, 20.0), (30, 100.0, 20.0))
    ]
    evaluation = [{"step": 10, "eval/accuracy": 0.5}, {"step": 20, "eval/accuracy": 0.75}]
    result = Result("run", {}, rows, evaluation)
    assert (result.images_per_second(), result.kept_accuracy) == (10, 0.75)
    assert Result("run", {}, rows, evaluation[:1]).kept_accuracy is None


def test_training_time_is_that_of_all_steps():
    rows = [{"step": 10, "images_per_second": 50.0}, {"step": 30, "images_per_second": 100.0}]
    result = Result("run", {"batch_size": 10}, rows, [])
    assert result.minutes() == pytest.approx((100 / 50 + 200 / 100) / 60)


def test_curves_are_means_at_common_steps(report):
    runs = []
    for points in (((1, 0.1), (2, 0.4)), ((2, 0.2), (3, 0.9)), ((2, 0.0),)):
        rows = [{"step": step, "eval/accuracy": accuracy} for step, accuracy in points]
        runs.append(Result("run", {}, [], rows))
    steps, values = report._mean_curve(runs, "eval/accuracy")
    assert (steps.tolist(), values.tolist()) == ([2], pytest.approx([0.2]))
    quickstart = importlib.import_module("quickstart_report")
    clean, wrong = "sample_weights/mean_clean", "sample_weights/mean_corrupted"
    assert quickstart.mean_weights([{clean: 0.5, wrong: 0.25}, {clean: 1.0}]) == (0.75, 0.25)


def lines_of(panel):
    axes = Figure().add_subplot()
    panel(axes)
    return {line.get_label(): [*np.ravel(line.get_ydata())] for line in axes.get_lines()}


def test_each_panel_shows_what_its_title_says(report, monkeypatch):
    runs, panels = [], dict[str, Any]()
    for name, weight in ((None, 1.0), ("gce", 0.3)):
        config = {"weighting": name and {"name": name, "options": {}}, "mixup": None}
        row = {"predictions/corrupted_as_given": 0.2, "sample_weights/mean_clean": 0.9}
        rows = [{"step": 1, **row, "sample_weights/mean_corrupted": weight}]
        runs.append(Result("run", config, rows, [{"step": 1, "eval/accuracy": 0.7}]))
    monkeypatch.setattr(report, "_draw", panels.update)
    report.draw_curves(runs)
    assert {title: lines_of(panel) for title, panel in panels.items()} == {
        "accuracy on test images": {"baseline": [0.7], "gce": [0.7]},
        "corrupted labels predicted as given": {"baseline": [0.2], "gce": [0.2]},
        "mean weight, gce": {"clean label": [0.9], "corrupted label": [0.3]},
    }


def test_the_table_of_the_quick_start(monkeypatch, tmp_path, capsys):
    """Last and best accuracy, weights of clean and of wrong labels; and the histograms."""
    monkeypatch.syspath_prepend(ROOT / "commands")
    quickstart = importlib.import_module("quickstart_report")
    labels, clean = np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])
    examples = types.SimpleNamespace(labels=labels, clean_labels=clean)
    for method, accuracies, weights in (
        ("baseline", (0.5, 0.9, 0.6), (1.0, 1.0)),
        ("mentornet_pd", (0.7, 0.8, 0.75), (0.9, 0.2)),
    ):
        evaluation = [{"step": k, "eval/accuracy": a} for k, a in enumerate(accuracies)]
        names = ("sample_weights/mean_clean", "sample_weights/mean_corrupted")
        training = [{"step": 0, **dict(zip(names, weights, strict=True))}]
        for part, rows in (("eval/eval", evaluation), ("train/metrics", training)):
            path = tmp_path / method / f"{part}.jsonl"
            path.parent.mkdir(parents=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    losses, pictures = np.array([0.1, 0.2, 0.3, 4.0]), []
    values: dict[str, Any] = {"output_dir": str(tmp_path)}
    monkeypatch.setattr(quickstart.config_flags, "read_flags", lambda cls: values)
    monkeypatch.setattr(quickstart.script, "load_tensorflow", lambda: None)
    monkeypatch.setattr(records, "read_examples", lambda folder, info, split: examples)
    monkeypatch.setattr(catalog, "dataset_info", lambda name, folder: None)
    monkeypatch.setattr(quickstart, "training_losses", lambda run, found: losses)
    monkeypatch.setattr(
        quickstart.plt.Figure, "savefig", lambda figure, path, dpi: pictures.append(path.name)
    )
    quickstart.main()
    assert pictures == ["accuracy.png", "losses.png"]
    table = (tmp_path / "table.txt").read_text()
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["Baseline", "0.600", "0.900", "1.000", "1.000"],
        ["MentorNet", "PD", "0.750", "0.800", "0.900", "0.200"],
    ]
    output = capsys.readouterr().out
    assert table in output and "25.0% of 4 training labels are wrong" in output
    panels = quickstart.plt.gcf().axes
    shown = [[(bars[0].get_label(), sum(bars.datavalues)) for bars in p.containers] for p in panels]
    quickstart.plt.close("all")
    assert shown == [[("clean label", 3), ("corrupted label", 1)]] * 2


def test_an_evaluation_without_an_accuracy_is_left_out(tmp_path):
    write_run(tmp_path, 0, [0.5, 0.6])
    file = tmp_path / "eval_val" / "eval.jsonl"
    file.write_text('{"step": 39001}\n' + file.read_text())
    (result,) = read_results(tmp_path)
    assert result.accuracies.tolist() == [0.5, 0.6]


@pytest.mark.parametrize("name", ["weighting", "mixup"])
def test_settings_of_another_form_are_named(tmp_path, name):
    write_run(tmp_path, 0, [0.5])
    file = tmp_path / "train" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: 0.2}))
    with pytest.raises(InputError, match=f"`{name}` must be a JSON object. Received: {name}=0.2"):
        read_results(tmp_path)


def test_names_in_the_page_are_text(report, tmp_path, monkeypatch, capsys):
    """Also where they look like HTML; the report's folder is made."""
    write_run(tmp_path / "runs", 0, [0.5], num_examples=10)
    file = tmp_path / "runs" / "train" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"dataset_name": "<i>own</i>"}))
    asked = {"output_dir": str(tmp_path / "new" / "report")}
    monkeypatch.setattr(report, "draw_curves", lambda runs: b"picture")
    monkeypatch.setattr(report.config_flags, "read_flags", lambda cls: asked)
    report.main(str(tmp_path / "runs"))
    told = f"{asked['output_dir']}/results.md and results.html: 1 runs, 0 unfinished, "
    assert capsys.readouterr().out == f"{told}0 not evaluated\n"
    write_run(tmp_path / "runs" / "other", 0, [0.5], num_examples=10)
    (tmp_path / "runs" / "other" / "eval_val").rename(tmp_path / "runs" / "other" / "eval")
    report.main(str(tmp_path / "runs"))
    assert capsys.readouterr().out == f"{told}1 not evaluated\n"
    page = (tmp_path / "new" / "report" / "results.html").read_text()
    assert "<i>" not in page
    assert "<h2>Reduced: &lt;i&gt;own&lt;/i&gt;, noise 0.4, resnet101, 39,000 steps</h2>" in page
    asked["output_dir"] = str(file)
    with pytest.raises(InputError, match="`output_dir` .*config.json cannot be written"):
        report.main(str(tmp_path / "runs"))


def test_label_scores_of_other_runs_stay(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    label_scores = importlib.import_module("label_scores")
    share: dict[str, float] = {}

    def evaluate(run, last):
        assert last
        facts = {"run": run, "wrong": 0.5, "visits": 4.0}
        measures = dict.fromkeys(("AUC", "average precision"), share[run])
        scores = [facts | {"score": name} | measures for name in label_scores.CANDIDATES]
        estimate = dict.fromkeys(("estimate", "from", "to", "by class"), share[run])
        return [*scores, facts | estimate]

    monkeypatch.setattr(label_scores, "evaluate", evaluate)
    monkeypatch.setattr(label_scores.script, "load_tensorflow", lambda: None)
    values = types.SimpleNamespace(output_dir=str(tmp_path / "out"), last=True)
    monkeypatch.setattr(label_scores, "FLAGS", values)
    for shares in ({"b": 0.25, "c": 0.25}, {"a": 0.75, "b": 0.75}):
        share.update(shares)
        label_scores.main(*shares)
    rows = json.loads((tmp_path / "out" / "label_scores.json").read_text())["rows"]
    found = [(row["run"], row["estimate"]) for row in rows if "estimate" in row]
    assert found == [("a", 0.75), ("b", 0.75), ("c", 0.25)]
    assert len(rows) == 3 * (len(label_scores.CANDIDATES) + 1)
    text = (tmp_path / "out" / "label_scores.md").read_text()
    assert text == label_scores.tables(rows)
