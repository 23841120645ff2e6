"""A narrow airbench student trained as its recipe says: resumed, in replicas, evaluated, mixed."""

import json

import numpy as np
import pytest
from helpers import assert_same_state, config, latest_state

from mentornet.core import processor
from mentornet.core.files import read_json_lines
from mentornet.datasets import augmentation, records
from mentornet.datasets.catalog import dataset_info
from mentornet.runs.checkpoints import find_latest, load_student
from mentornet.students.networks import airbench
from mentornet.training import loop

NARROW = airbench.make_student(airbench.Shape((6, 8, 8)))
NARROW_96 = airbench.make_student(airbench.Shape((6, 8, 8), 3, 0.9), airbench._RECIPE_96)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """airbench93 and airbench96 with a few channels only."""
    monkeypatch.setitem(airbench.student, "airbench93", NARROW)
    monkeypatch.setitem(airbench.student, "airbench96", NARROW_96)


def fast(digits, folder, name="airbench93", **values):
    """Nine steps of 48 of 200 images: batches straddle passes, slow parameters move at 5 and 9."""
    settings = {"batch_size": 48, "max_number_of_steps": 9, "augment": True}
    return config(digits, folder, studentnet=name, **(settings | values))


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """The folder of a run that was never stopped."""
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
