"""Exports a trained student for other programs: the 2018 release, Keras, TensorFlow, ONNX.

mentornet export --checkpoint_dir=runs/pd/train --format=saved_model --output=exported/pd
"""

from absl import flags

from mentornet.cli import script
from mentornet.core.errors import check

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("checkpoint_dir", "", "A run's train_log_dir, or a checkpoint's prefix.")
    flags.DEFINE_enum(
        "format",
        None,
        ["tf1", "keras", "saved_model", "onnx"],
        "tf1: a checkpoint for the release's cifar_eval.py. keras: the network, from preprocessed "
        "images to logits. saved_model, onnx: from uint8 images to probabilities.",
    )
    flags.DEFINE_string("output", "", "A folder (tf1, saved_model), or a .keras or .onnx file.")
    flags.DEFINE_string("studentnet", None, "Student of a checkpoint of the release.")
    flags.DEFINE_string("dataset_name", None, "Data set of a checkpoint of the release.")
    flags.DEFINE_string("data_dir", None, "Records that name the classes; by default the run's.")


def main() -> None:
    for name in ("checkpoint_dir", "format", "output"):
        check(bool(FLAGS[name].value), f"`{name}` must be given.", **{name: FLAGS[name].value})
    script.load_tensorflow()
    from mentornet.evaluation import export

    described = {name: FLAGS[name].value for name in ("studentnet", "dataset_name", "data_dir")}
    trained = export.load_trained(FLAGS.checkpoint_dir, **described)
    export.export(trained, FLAGS.output, FLAGS.format)
    print(f"Wrote the student of step {trained.global_step} to {FLAGS.output}")
