"""Exports a trained student for other programs: the 2018 release, Keras, TensorFlow, ONNX.

mentornet export --checkpoint_dir=runs/pd/train --format=saved_model --output=exported/pd
"""

import dataclasses

from mentornet.cli import config_flags, script
from mentornet.config.options import REQUIRED, check_fields, option


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What is exported: each field is a flag.

    Raises:
      InputError: a required value is missing, or the format is unknown.
    """

    checkpoint_dir: str = option(REQUIRED, "A run's train_log_dir, or a checkpoint's prefix.")
    format: str = option(
        REQUIRED,
        "tf1: a checkpoint for the release's cifar_eval.py. keras: the network, from preprocessed "
        "images to logits. saved_model, onnx: from uint8 images to probabilities.",
        choices=("tf1", "keras", "saved_model", "onnx"),
    )
    output: str = option(REQUIRED, "A folder (tf1, saved_model), or a .keras or .onnx file.")
    studentnet: str | None = option(None, "Student of a checkpoint of the release.")
    dataset_name: str | None = option(None, "Data set of a checkpoint of the release.")
    data_dir: str | None = option(None, "Records that name the classes; by default the run's.")

    def __post_init__(self) -> None:
        check_fields(self)


def define_flags() -> None:
    config_flags.define_flags(ExportConfig)


def main() -> None:
    config = ExportConfig(**config_flags.read_flags(ExportConfig))
    script.load_tensorflow()
    from mentornet.evaluation import export

    trained = export.load_trained(
        config.checkpoint_dir,
        studentnet=config.studentnet,
        dataset_name=config.dataset_name,
        data_dir=config.data_dir,
    )
    export.export(trained, config.output, config.format)
    print(f"Wrote the student of step {trained.global_step} to {config.output}")
