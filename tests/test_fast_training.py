"""A narrow airbench student under its recipe: resumed, in replicas, evaluated, mixed."""

import dataclasses
import json
import pathlib
import types
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from helpers import assert_same_state, config, latest_state, warm_server

from mentornet.config.evaluation import EvalConfig
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import MixupConfig, WeightingConfig
from mentornet.core import processor
from mentornet.core.errors import InputError
from mentornet.core.files import read_json_lines
from mentornet.datasets import augmentation, records
from mentornet.datasets.catalog import dataset_info
from mentornet.evaluation import dump, export, job
from mentornet.runs.checkpoints import find_latest
from mentornet.runs.students import load_student
from mentornet.students.networks import airbench
from mentornet.training import build, loop, recipe
from mentornet.training.build import make_trainer
from mentornet.training.lookahead import Lookahead
from mentornet.training.wrappers import Averaged, LossScaled, OptimizerUpdate

NARROW = airbench.make_student(airbench.Shape((6, 8, 8)))
NARROW_96 = airbench.make_student(airbench.Shape((6, 8, 8), 3, 0.9), airbench._RECIPE_96)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """airbench93 and airbench96 with a few channels only."""
    monkeypatch.setitem(airbench.student, "airbench93", NARROW)
    monkeypatch.setitem(airbench.student, "airbench96", NARROW_96)


def fast(digits, folder, name="airbench93", **values):
    """Nine steps of 48 for 200 images: batches span epochs, lookahead acts at 5 and 9."""
    settings = {"batch_size": 48, "max_number_of_steps": 9, "augment": True}
    return config(digits, folder, studentnet=name, **(settings | values))


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(airbench.student, "airbench93", NARROW)
        loop.train(fast(digits, folder))
    return folder


def test_what_ran_is_written_down(whole):
    ran = json.loads((whole / "config.json").read_text())
    precision = "bfloat16" if processor.bfloat16_instructions() else "float32"
    assert ran["mixed_precision"] == precision
    assert ran["learning_rate"] == pytest.approx(1.5 * 48 / 1024)
    assert ran["learning_rate_schedule"]["steps"] == [0, 2, 9]
    assert (ran["label_smoothing"], ran["lookahead_steps"], ran["nesterov"]) == (0.2, 5, True)
    assert ran["batch_norm_decays"] == [0.6]
    assert ran["standardization"] == "channel" and ran["frozen_after"] == {"whitening/bias": 3}
    assert ran["decayed"] == {"kernel": 1, "bias": 1, "beta": 1 / 64}
    rates = [row["learning_rate"] for row in read_json_lines(whole / "metrics.jsonl")]
    assert rates[:3] == pytest.approx([0.2 * ran["learning_rate"] * f for f in (1, 3, 5)])


@pytest.mark.parametrize("stop", [4, 5, 6])
def test_going_on_is_exact(digits, tmp_path, whole, stop):
    loop.train(fast(digits, tmp_path, stop_after_step=stop))
    loop.train(fast(digits, tmp_path))
    assert_same_state(whole, tmp_path)


def test_the_student_ends_as_the_slow_parameters(whole):
    state = latest_state(whole)
    slow = [name for name in state if "slow.S" in name]
    assert len(slow) == 7 + 2 + 6 * 3  # Kernels, the whitening, statistics and shifts.
    for name in slow:
        own = name.replace("state/slow.S", "student/")
        np.testing.assert_array_equal(state[name], state[own], err_msg=name)


def test_the_whitening_is_that_of_the_training_images(digits, whole):
    info = dataset_info("digits", str(digits / "0.4"))
    images = records.read_examples(str(digits / "0.4"), info, "train").images
    standardised = augmentation.standardize(images, "channel").numpy()
    kernel = load_student(find_latest(str(whole))).get_layer("whitening").kernel.numpy()
    np.testing.assert_array_equal(kernel, airbench.whitening_kernel(standardised))


def test_test_time_augmentation_is_the_students_and_can_be_turned_off(digits, tmp_path, whole):
    rows = {}
    for asked in (None, True, False):
        folder = tmp_path / str(asked)
        settings = EvalConfig(
            checkpoint_dir=str(whole),
            eval_dir=str(folder),
            data_dir=str(digits / "val"),
            test_time_augmentation=asked,
            run_once=True,
        )
        job.run(settings)
        (rows[asked],) = read_json_lines(folder / "eval.jsonl")
    assert rows[None]["test_time_augmentation"] and rows[None] == rows[True]
    assert "test_time_augmentation" not in rows[False]
    assert rows[False]["total_loss"] != rows[True]["total_loss"]


def test_a_training_too_short_for_lookahead_has_none(digits, tmp_path, capsys):
    """It would end with the initial parameters."""
    loop.train(fast(digits, tmp_path, max_number_of_steps=2))
    said = capsys.readouterr().out
    assert "Lookahead is off, since it needs more than 5 steps." in said
    assert "mixed_precision=auto: " in said
    assert json.loads((tmp_path / "config.json").read_text())["lookahead_steps"] == 0
    assert not [name for name in latest_state(tmp_path) if "slow.S" in name]


def test_the_third_convolution_and_cutout_are_trained(digits, tmp_path):
    loop.train(fast(digits, tmp_path, "airbench96", max_number_of_steps=2))
    ran = json.loads((tmp_path / "config.json").read_text())
    assert (ran["cutout"], ran["crop_padding"], ran["batch_norm_decays"]) == (12, 4, [0.9])
    assert ran["learning_rate"] == pytest.approx(9 / 11.5 * 1.5 * 48 / 1024)
    assert any("group_2..3..conv" in name for name in latest_state(tmp_path))


REPLICAS = """
import sys
from mentornet.config.training import TrainConfig
from mentornet.students.networks import airbench
from mentornet.training import loop

data, folder, num_devices = sys.argv[1:]
airbench.student["airbench93"] = airbench.make_student(airbench.Shape((6, 8, 8)))
loop.train(TrainConfig(
    data, folder, dataset_name="digits", studentnet="airbench93", batch_size=48, augment=True,
    max_number_of_steps=7, log_every_steps=1, num_devices=int(num_devices), sync_batch_norm=True,
    mixed_precision="float32", learning_rate=0.02,
))
"""


@pytest.mark.slow
def test_replicas_make_the_same_run(digits, tmp_path):
    states = []
    for count in ("1", "2"):
        arguments = digits / "0.4", tmp_path / count, count
        status, _, output = warm_server().run("-c", REPLICAS, *arguments)
        assert status == 0, output
        states.append(latest_state(tmp_path / count))
    assert states[0].keys() == states[1].keys()
    names = [name for name in states[0] if name.startswith(("student", "state/slow"))]
    assert len(names) == 2 * (7 + 2 + 6 * 3)
    one, two = (np.concatenate([state[name].ravel() for name in names]) for state in states)
    assert np.linalg.norm(one - two) < 1e-3 * np.linalg.norm(one)


@pytest.mark.parametrize("mixup", [None, MixupConfig(2.0, second_reweight=True)])
def test_what_is_weighted_stays_plain(digits, tmp_path, mixup):
    """The first step's losses and weights are those of a run without smoothing."""
    rows = []
    for smoothing in (0.0, 0.2):
        folder = tmp_path / str(smoothing)
        settings = {"label_smoothing": smoothing, "mixup": mixup, "max_number_of_steps": 1}
        mentored = {"trained_mentornet_dir": "mentornet_pd", "weighting": WeightingConfig()}
        loop.train(fast(digits, folder, **settings, **mentored))
        rows += read_json_lines(folder / "metrics.jsonl")
    plain, smoothed = rows
    for name in ("mentornet/orig_loss", "debug/percentile_loss", "data_util/batch_sum_v"):
        assert smoothed[name] == plain[name], name
    assert smoothed["mentornet/weighted_loss"] != plain["mentornet/weighted_loss"]


def test_what_is_for_airbench_serves_every_student(digits, tmp_path):
    """Each part of the recipe as a flag, for another student, with one that trains it exactly."""
    parts = {
        "learning_rate_shape": "0:0.5,0.5:1,1:0",
        "nesterov": True,
        "label_smoothing": 0.1,
        "lookahead_steps": 2,
        "flip": "alternating",
        "crop_mode": "reflect",
        "crop_padding": 3,
        "cutout": 5,
        "shift_rate_factor": 2.0,
        "batch_norm_decay": 0.5,
    }
    loop.train(config(digits, tmp_path, studentnet="resnet8", augment=True, **parts))
    ran = json.loads((tmp_path / "config.json").read_text())
    assert {name: ran[name] for name in parts} == parts
    assert ran["batch_norm_decays"] == [0.5]
    rates = [row["learning_rate"] for row in read_json_lines(tmp_path / "metrics.jsonl")]
    assert rates == pytest.approx([0.05, 0.075, 0.1, 0.05])


def test_the_processor_is_asked(tmp_path):
    info = tmp_path / "cpuinfo"
    for text, expected in (
        ("flags\t\t: sse avx512_bf16 amx_bf16", ("avx512_bf16", "amx_bf16")),
        ("Features\t: fp bf16", ("bf16",)),
        ("flags\t\t: sse avx512f\nmodel name\t: bf16", ()),
    ):
        info.write_text(f"processor\t: 0\n{text}\n")
        assert processor.bfloat16_instructions(str(info)) == expected
    assert processor.bfloat16_instructions(str(tmp_path / "none")) == ()


@pytest.mark.parametrize(("found", "precision"), [((), "float32"), (("bf16",), "bfloat16")])
def test_automatic_precision(monkeypatch, capsys, found, precision):
    for module in (recipe, loop):
        monkeypatch.setattr(module, "bfloat16_instructions", lambda: found)
    asked = config(pathlib.Path("-"), "-", studentnet="airbench94")
    assert recipe.resolve(asked, recipe.defaults(asked, True)).mixed_precision == precision
    loop._report_precision("auto")
    assert f"mixed_precision=auto: {precision}" in capsys.readouterr().out


def test_contradictions():
    with pytest.raises(InputError, match="not both"):
        config(pathlib.Path("-"), "-", learning_rate_shape="0:1", learning_rate_boundaries=(3,))
    with pytest.raises(InputError, match="`learning_rate_shape` must be"):
        config(pathlib.Path("-"), "-", learning_rate_shape="fast")
    asked = config(pathlib.Path("-"), "-", studentnet="airbench94", learning_rate_boundaries=(3,))
    assert recipe.resolve(asked, recipe.defaults(asked, True)).learning_rate_shape is None
    short = dataclasses.replace(asked, max_number_of_steps=3, lookahead_steps=2)
    for steps in (3, 4):
        with pytest.raises(InputError, match="must be below max_number_of_steps=3"):
            dataclasses.replace(short, lookahead_steps=steps)


@pytest.mark.parametrize(
    ("name", "padding", "cutout"), [("airbench93", 2, 0), ("airbench96", 4, 12)]
)
def test_the_recipe_reaches_the_pipeline(digits, tmp_path, monkeypatch, name, padding, cutout):
    seen, original = {}, loop.training_batches

    def batches(examples, **values):
        seen.update(values)
        return original(examples, **values)

    monkeypatch.setattr(loop, "training_batches", batches)
    loop.train(fast(digits, tmp_path, name, max_number_of_steps=1, seed=5))
    assert (seen["standardization"], seen["seed"]) == ("channel", 5)
    expected = augmentation.Augmentation(padding, "reflect", "alternating", cutout)
    assert seen["augmentation"] == expected


def test_the_recipe_reaches_the_trainer():
    """The whitening's bias is frozen after three epochs: 12.5 steps of 48 for 200 images."""
    asked = fast(pathlib.Path("-"), "-", mixed_precision="float32", seed=5)
    trainer = make_trainer(asked, 200, 10, (32, 32, 3))
    optimizer: Any = trainer._update.optimizer
    assert (optimizer.momentum, optimizer.nesterov) == (0.85, True)
    assert optimizer.rate_factors == {"beta": 64}
    assert optimizer.frozen_after == {"whitening/bias": 13}
    assert "whitening/bias" in {v.path for v in trainer.student.trainable_variables}
    factors = sorted(factor for _, factor in trainer._decayed)
    assert factors == [1 / 64] * 6 + [1] * 8
    assert trainer._seed == 5


def test_what_is_as_usual_is_not_mentioned(capsys):
    for asked, resolved, said in ((None, 5, False), (None, 0, True), (2, 2, False), (0, 0, False)):
        configs = (
            fast(pathlib.Path("-"), "-", lookahead_steps=steps) for steps in (asked, resolved)
        )
        loop._report_unused(*configs)
        assert ("Lookahead is off" in capsys.readouterr().out) == said
    loop._report_precision("float32")
    assert capsys.readouterr().out == ""


def test_defaults_of_an_airbench_student():
    for steps, lookahead in ((5, 0), (6, 5)):
        asked = TrainConfig("-", "-", studentnet="airbench94", max_number_of_steps=steps)
        found = recipe.defaults(asked, True)
        assert (found["batch_size"], found["learning_rate"]) == (1024, 1.5)
        assert found["lookahead_steps"] == lookahead
    smaller = dataclasses.replace(asked, batch_size=256)
    assert recipe.defaults(smaller, True)["learning_rate"] == 1.5 / 4
    resolved = recipe.resolve(asked, found)
    expected = augmentation.Augmentation(2, "reflect", "alternating", 0)
    assert recipe.augmentation(resolved) == expected
    assert recipe.augmentation(dataclasses.replace(resolved, augment=False)) is None


def test_whatever_reads_the_student_standardises_by_channel(digits, tmp_path, whole):
    data = str(digits / "0.4")
    examples = records.read_examples(data, dataset_info("digits", data), "train")
    student = load_student(find_latest(str(whole)))
    images = augmentation.standardize(examples.images, "channel")
    logits = student(images, training=False)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(examples.labels, logits).numpy()
    asked = EvalConfig(
        *(str(whole), str(tmp_path), data),
        split_name="train",
        run_once=True,
        test_time_augmentation=False,
    )
    job.run(asked)
    (row,) = read_json_lines(tmp_path / "eval.jsonl")
    assert row["total_loss"] == pytest.approx(losses.mean(), rel=1e-4)
    dump.write_losses(str(tmp_path / "d.csv"), checkpoint_dir=str(whole), data_dir=data)
    dumped = np.loadtxt(tmp_path / "d.csv")[:, 4]
    np.testing.assert_allclose(dumped, losses, rtol=1e-3, atol=1e-3)
    assert export.load_trained(str(whole)).standardization == "channel"


@pytest.mark.parametrize(("count", "step"), [(5000, 1), (5001, 2), (10_001, 3)])
def test_a_student_is_adapted_to_evenly_spaced_images(monkeypatch, count, step):
    """At most 5,000, of all classes even if the images are sorted by class."""
    seen: list[Any] = []
    entry = types.SimpleNamespace(
        adapt=lambda student, samples: seen.append(samples),
        recipe=types.SimpleNamespace(standardization="channel"),
    )
    monkeypatch.setattr(build.registry, "find_student", lambda name: entry)
    pixels = np.arange(count * 3).reshape(count, 1, 1, 3) % 251
    images, zero = tf.constant(pixels, tf.uint8), np.zeros(count, np.int64)
    examples = records.Examples(images, (1, 1, 3), zero, zero, zero, zero == 1)
    student: Any = None
    build._adapt(student, "own", examples)
    expected = augmentation.standardize(images[::step], "channel")
    assert len(seen) == 1 and len(seen[0]) <= 5000
    np.testing.assert_allclose(seen[0], expected, rtol=1e-6, atol=1e-6)


def test_xla_needs_one_replica(monkeypatch):
    two = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: two)
    values = {"jit_compile": True, "deterministic": False}
    asked = config(pathlib.Path("-"), "-", studentnet="helpers:small_student", **values)
    with pytest.raises(InputError, match="`jit_compile` needs one device, of one machine"):
        make_trainer(asked, 200, 10, (32, 32, 3))


def test_the_moving_average_is_of_what_lookahead_leaves():
    """And both of unscaled gradients: from the outside in."""
    values = {"lookahead_steps": 2, "ema_decay": 0.9, "mixed_precision": "mixed_float16"}
    asked = config(pathlib.Path("-"), "-", studentnet="helpers:small_student", **values)
    update: Any = make_trainer(asked, 200, 10, (32, 32, 3))._update
    found = []
    while update is not None:
        found.append(type(update))
        update = getattr(update, "_inner", None)
    assert found == [Averaged, Lookahead, LossScaled, OptimizerUpdate]


def test_settings_of_the_wrappers():
    values = {"lookahead_steps": 2, "ema_decay": 0.75}
    asked = config(pathlib.Path("-"), "-", studentnet="helpers:small_student", **values)
    averaged: Any = make_trainer(asked, 200, 10, (32, 32, 3))._update
    assert averaged._average._decay == 0.75
    assert (averaged._inner._every, averaged._inner._num_steps) == (2, 4)
