"""The release's published commands run unchanged, except for the folder of its scripts."""

import re
import shlex
import shutil

import numpy as np
import pytest
import tensorflow as tf
from curricula_errors import errors
from helpers import ROOT, warm_server

from mentornet import load_mentornet
from mentornet.learning import curricula

# commands/training_mentornet_command.sh of the release.
LEARNING = """
python code/training_mentornet/data_generator.py --outdir=mentornet_models/data/mentornet_pd_example
  --vstar_fn=vstar_mentornet_pd --vstar_gamma=1 --sample_size=100000
python code/training_mentornet/train.py --train_dir=mentornet_models/models/mentornet_pd_example
  --data_path=mentornet_models/data/mentornet_pd_example --max_step_train=3e4 --learning_rate=0.1
python code/training_mentornet/data_generator.py --vstar_fn=data_driven
  --input_csv_filename=mentornet_models/studentnet_dump_csv/nl_0.2_datapara_0.75_7k.csv
  --outdir=mentornet_models/data/mentornet_dd_example
python code/training_mentornet/train.py --train_dir=mentornet_models/models/mentornet_dd_example
  --data_path=mentornet_models/data/mentornet_dd_example/nl_0.2_datapara_0.75_7k_percentile_90
  --max_step_train=3e4 --learning_rate=0.1
python code/training_mentornet/visualizer.py
  --model_dir=mentornet_models/models/mentornet_pd_example
  --loss_bound=5 --epoch_ranges="0,10,18,20,30,40,50,60,70,80,90,95,99"
python code/training_mentornet/visualizer.py
  --model_dir=mentornet_models/models/mentornet_dd_example
  --loss_bound=15 --epoch_ranges="0,10,18,20,30,40,50,60,70,80,90,95,99"
"""
# TRAINING.md of the release has the same commands; these two with their flags in another order.
VISUALIZING = """
python code/training_mentornet/visualizer.py
  --model_dir=mentornet_models/models/mentornet_pd_example
  --epoch_ranges="0,10,18,20,30,40,50,60,70,80,90,95,99" --loss_bound=5
python code/training_mentornet/visualizer.py
  --model_dir=mentornet_models/models/mentornet_dd_example
  --epoch_ranges="0,10,18,20,30,40,50,60,70,80,90,95,99" --loss_bound=15
"""
# README.md of the release.
TRAINING = """
python code/cifar_train_mentornet.py --dataset_name=cifar10
  --trained_mentornet_dir=mentornet_models/models/mentornet_pd1_g_1/mentornet_pd
  --loss_p_precentile=0.75 --nofixed_epoch_after_burn_in --burn_in_epoch=0
  --example_dropout_rates="0.5,17,0.05,83" --data_dir=data/cifar10/0.2
  --train_log_dir=cifar_models/cifar10/resnet/0.2/mentornet_pd1_g_1/train --studentnet=resnet101
  --max_number_of_steps=39000
python cifar/cifar_eval.py --dataset_name=cifar10 --data_dir=cifar/data/cifar10/val/
  --checkpoint_dir=cifar_models/cifar10/resnet/0.2/mentornet_pd1_g_1/train
  --eval_dir=cifar_models/cifar10/resnet/0.2/mentornet_pd1_g_1//eval_val --studentnet=resnet101
  --device_id=1
"""


def commands(text):
    """Each command's script and flags."""
    lines = re.sub(r"\n  ", " ", text).strip().splitlines()
    return [shlex.split(line)[1:] for line in lines]


def run(*arguments, folder):
    status, _, output = warm_server().run(*arguments, folder=folder)
    assert status == 0, output
    return output


@pytest.mark.slow
def test_learning_commands(tmp_path):
    """All six, with few steps and pictures, and a csv of ours: theirs is no longer available."""
    ours = ROOT / "mentornet_models/studentnet_dump_csv/nl_0.2_inception_5k.csv"
    csv = tmp_path / "mentornet_models/studentnet_dump_csv/nl_0.2_datapara_0.75_7k.csv"
    csv.parent.mkdir(parents=True)
    shutil.copy(ours, csv)
    fewer = "", "--max_step_train=3e3", "", "--max_step_train=6e2", "", "--epoch_ranges=0,99"
    outputs = []
    for (script, *flags), flag in zip(commands(LEARNING), fewer, strict=True):
        script = ROOT / script.replace("code/training_mentornet", "mentornet_learning")
        outputs.append(run(script, *flags, *filter(None, [flag]), folder=tmp_path))
    assert "80000 rows in tr.npz, 20000 in ts.npz" in outputs[0]
    assert "step 500/600 squared error: train" in outputs[3]
    assert "step 600/600 squared error: train" in outputs[3]
    models = tmp_path / "mentornet_models" / "models"
    for name, count in (("mentornet_pd_example", 15), ("mentornet_dd_example", 4)):
        pictures = {path.name for path in models.joinpath(name).glob("*.[pg][ni][gf]")}
        assert len(pictures) == count
        assert {"epoch_99.png", "plot.gif", "curriculum.png"} <= pictures
    grid, outside, _ = errors("mentornet_pd", load_mentornet(str(models / "mentornet_pd_example")))
    assert grid <= 0.01 and outside <= 2e-3  # Answering the mean always gives 0.237.
    rows = np.array([[0.01, -1, 0, 18], [8, 7, 0, 18]], np.float32)  # Clean, wrong.
    learned = tf.sigmoid(load_mentornet(str(models / "mentornet_dd_example"))(rows))
    assert learned[0, 0] > 0.8 > 0.2 > learned[1, 0]


def test_both_names_of_a_curriculum():
    features = curricula.grid()[::1009]
    for name in curricula.CURRICULA:
        if curricula.feature_names(name) == curricula.RELEASE:
            released = curricula.targets(f"vstar_{name}", features, None)
            np.testing.assert_array_equal(released, curricula.targets(name, features, None))


def write_records(folder, split):
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(folder / f"cifar10_{split}-00000-of-00001")) as writer:
        for label in range(8):
            png = tf.io.encode_png(random.integers(0, 256, (32, 32, 3), np.uint8)).numpy()
            image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))
            number = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
            feature = {"image/encoded": image, "image/class/label": number}
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


# `resnet101` with an eighth of the width and one unit a stage, in the program that follows.
NARROW = """
import runpy, sys
from mentornet.students.networks import resnet101
resnet101._UNITS_PER_STAGE = 1
resnet101._STAGES = tuple((width // 8, stride) for width, stride in resnet101._STAGES)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_training_and_evaluation_of_the_readme(tmp_path):
    """With their flags unchanged; flags after them shorten the run, of a narrow network."""
    (tmp_path / "mentornet_models").symlink_to(ROOT / "mentornet_models")
    write_records(tmp_path / "data/cifar10/0.2", "train")
    write_records(tmp_path / "cifar/data/cifar10/val", "test")
    (_, *training), (_, *evaluation) = commands(TRAINING)
    shorter = ["--batch_size=4", "--stop_after_step=1"]
    train, evaluate = ROOT / "code/cifar_train_mentornet.py", ROOT / "code/cifar_eval.py"
    run("-c", NARROW, train, *training, *shorter, folder=tmp_path)
    output = run("-c", NARROW, evaluate, *evaluation, "--run_once", folder=tmp_path)
    assert "eval step 1: accuracy=" in output and "(8 images)" in output
