"""Writes a data set with corrupted training labels and a clean test split as TFRecords."""

from absl import flags

from mentornet import cli
from mentornet.datasets.prepare import PrepareConfig

FLAGS = flags.FLAGS

flags.DEFINE_string("dataset_name", "cifar10", "cifar10, cifar100 or digits.")
flags.DEFINE_string(
    "source",
    None,
    "Official archive (python or binary version) or its unpacked folder, or 'keras' to download; "
    "the digits need none.",
)
flags.DEFINE_string("noise_type", "uniform", "uniform, symmetric, pair, asymmetric or file.")
flags.DEFINE_float("noise_fraction", 0.0, "Probability 0..1 that a label is drawn anew.")
flags.DEFINE_string("noise_file", None, "For noise_type=file: .npy or .npz of training labels.")
flags.DEFINE_string("noise_key", None, "The array's name in an .npz file.")
flags.DEFINE_integer("num_train", None, "Keep a random subset of so many training images.")
flags.DEFINE_integer("num_trusted", 0, "Mark so many training images, at random, as trusted.")
flags.DEFINE_integer("seed", 0, "Of the noise, the subset and the trusted images.")
flags.DEFINE_string(
    "output_dir", "data", "Folder under which <dataset>/<noise> and <dataset>/val go."
)


def main() -> None:
    config = PrepareConfig(**{name: FLAGS[name].value for name in PrepareConfig.__annotations__})
    cli.load_tensorflow()
    from mentornet.datasets import prepare

    for folder, manifest in prepare.prepare(config).items():
        wrong = manifest["share_of_wrong_labels"]
        size = f"{manifest['num_examples']} images, {manifest['num_classes']} classes"
        print(f"{folder}: {size}, {wrong:.2%} of the labels wrong")


if __name__ == "__main__":
    cli.run(main)
