"""The fast student on real images, small enough for CI: PD helps where wrong labels are learned."""

import io
import os
import pathlib
import tarfile

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from mentornet.config.evaluation import EvalConfig
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.core.files import read_json_lines
from mentornet.datasets.prepare import PrepareConfig, prepare
from mentornet.evaluation import job
from mentornet.students.networks import airbench
from mentornet.training import loop

# Real images, which are no part of the project.
DATA = os.environ.get("MENTORNET_TEST_DATA", ROOT.parent / "shared" / "data")
ARCHIVE = pathlib.Path(DATA, "cifar10.tar")
IMAGES = 2000  # To train on, and as many training images of CIFAR-10 to evaluate on.

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ARCHIVE.is_file(), reason="needs cifar10.tar in MENTORNET_TEST_DATA"),
]


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """The folder of mini/0.4 and mini/val: training images of CIFAR-10, halved at random."""
    folder = tmp_path_factory.mktemp("cifar")
    found: dict[str, list[np.ndarray]] = {}
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            split, name, place = member.name.split("/")
            images = found.setdefault(name, [])
            wanted = split == "train" and place.endswith(".webp")
            if wanted and sum(map(len, images)) < 2 * IMAGES // 10:
                file = archive.extractfile(member)
                assert file
                sheet = Image.open(io.BytesIO(file.read()))
                images.append(np.asarray(sheet.convert("RGB")).reshape(-1, 32, 32, 3))
    images = [np.concatenate(images)[: 2 * IMAGES // 10] for _, images in sorted(found.items())]
    labels = np.repeat(np.arange(10), 2 * IMAGES // 10)
    np.savez(folder / "images.npz", images=np.concatenate(images), labels=labels)
    source = str(folder / "images.npz")
    prepare(PrepareConfig("mini", str(folder), source, noise_fraction=0.4, test_share=0.5))
    return folder / "mini"


def last_rows(cifar, folder, weighting):
    """The last row of the training's log and of the evaluation, after 30 passes."""
    config = TrainConfig(
        str(cifar / "0.4"),
        str(folder / "train"),
        dataset_name="mini",
        studentnet="airbench93",
        batch_size=128,
        max_number_of_steps=30 * IMAGES // 128,
        augment=True,
        weighting=weighting,
        trained_mentornet_dir="mentornet_pd",
        record_sample_weights=True,
        save_interval_steps=1000,
    )
    loop.train(config)
    evaluation = EvalConfig(
        str(folder / "train"),
        str(folder / "eval"),
        str(cifar / "val"),
        batch_size=500,
        run_once=True,
        test_time_augmentation=False,
    )
    job.run(evaluation)
    names = "train/metrics.jsonl", "eval/eval.jsonl"
    return [read_json_lines(folder / name)[-1] for name in names]


def test_a_mentornet_is_ahead_where_wrong_labels_are_learned(cifar, tmp_path, monkeypatch):
    quarter = airbench.make_student(airbench.Shape((16, 32, 32)))
    monkeypatch.setitem(airbench.student, "airbench93", quarter)
    _, plain = last_rows(cifar, tmp_path / "baseline", None)
    pd = WeightingConfig(0.75, burn_in_epoch=10, example_dropout_rates="0,100")
    weights, mentored = last_rows(cifar, tmp_path / "pd", pd)
    assert plain["num_examples"] == mentored["num_examples"] == IMAGES
    assert plain["eval/accuracy"] > 0.4
    assert mentored["eval/accuracy"] > plain["eval/accuracy"]
    clean, wrong = (weights[f"sample_weights/mean_{kind}"] for kind in ("clean", "corrupted"))
    assert clean > 0.8 and clean - wrong > 0.15, (clean, wrong)
