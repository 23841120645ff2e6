"""Data sets that are not kept in memory."""

import os
import shutil

import numpy as np
import pytest
from helpers import ROOT, SCRIPT, assert_same_state, config, warm_server

from mentornet import InputError
from mentornet.datasets import records
from mentornet.training import loop


def test_the_same_run(digits, tmp_path, monkeypatch):
    """Images read when needed give the same run as images in memory, bit for bit."""
    loop.train(config(digits, tmp_path / "memory", augment=True))
    monkeypatch.setattr(records, "MAX_IN_MEMORY", 0)
    for stop in (2, None):
        values = {"augment": True, "stop_after_step": stop}
        loop.train(config(digits, tmp_path / "streamed", **values))
    assert_same_state(tmp_path / "memory", tmp_path / "streamed")


def test_files_that_change_or_vanish(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_IN_MEMORY", 0)
    shutil.copytree(digits / "0.4", tmp_path / "0.4")
    file = next((tmp_path / "0.4").glob("digits_train-*"))
    original = loop.training_batches
    for number, (damage, message) in enumerate(
        (
            (lambda: os.utime(file, (0, 0)), "must not change while it is in use"),
            (file.unlink, "can no longer be read"),
        )
    ):

        def damaged(*arguments, damage=damage, **keywords):
            damage()
            return original(*arguments, **keywords)

        monkeypatch.setattr(loop, "training_batches", damaged)
        with pytest.raises(InputError, match=f"A batch cannot be read; .*{message}"):
            loop.train(config(tmp_path, tmp_path / f"train{number}"))


@pytest.mark.slow
def test_memory_stays_flat(tmp_path, train_flags):
    """100,000 images, 307 MB, need at most 100 MB more than 10,000."""
    images = np.random.default_rng(0).integers(0, 256, (10_000, 8, 8, 3), np.uint8)
    images = images.repeat(4, axis=1).repeat(4, axis=2)
    records.write_records(tmp_path / "shard", images, {"image/class/label": np.arange(10_000) % 10})
    peaks = {}
    for num_files in (1, 10):
        folder = tmp_path / str(num_files)
        folder.mkdir()
        for number in range(num_files):
            os.link(tmp_path / "shard", folder / f"cifar10_train-{number:05d}-of-{num_files:05d}")
        flags = train_flags(
            dataset_name="cifar10",
            data_dir=folder,
            train_log_dir=folder / "train",
            studentnet="helpers:small_network",
            trained_mentornet_dir="mentornet_pd",
            batch_size=128,
            max_number_of_steps=10,
        )
        status, memory, output = warm_server().run(ROOT / SCRIPT, *flags)
        assert status == 0, output
        peaks[num_files] = memory / 1e6
    assert peaks[10] - peaks[1] <= 100, peaks
    assert min(peaks.values()) > 300, peaks
