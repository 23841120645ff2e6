"""A fast student's whole step against a matrix product, in turns in one process.

    python benchmarks/fast_student.py [--studentnet=airbench94] [--batch_size=512] [--rounds=5]

The step is a mentored one as the scripts train it: input pipeline with augmentation, weighting,
history, update and lookahead. Its arithmetic is 6 operations a multiplication of the forward pass,
2 for the whitening, whose kernel is not trained. Seconds of the wall clock are meant for a machine
with nothing beside; the processor's seconds change little where other programs run.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import flags

from mentornet.cli import script

FLAGS = flags.FLAGS
flags.DEFINE_string("studentnet", "airbench94", "An airbench student.")
flags.DEFINE_integer("batch_size", 512, "Samples per step.")
flags.DEFINE_enum(
    "precision", "auto", ["auto", "bfloat16", "float32"], "Compute type of the student."
)
flags.DEFINE_integer("rounds", 5, "Steps that are timed.")
_SIZE, _PRODUCTS = 2048, 10  # Of a matrix, and products in a round.


def multiplications(student: Any) -> float:
    """Of a forward pass of one image, those without gradients for a third."""
    total = 0.0
    for layer in student.layers:
        if hasattr(layer, "kernel"):
            places = math.prod(layer.output.shape[1:-1])
            share = 1.0 if layer.kernel.trainable else 1 / 3
            total += share * places * math.prod(layer.kernel.shape)
    return total


def make_step() -> tuple[Callable[[], Any], float, str]:
    """The step, its floating-point operations, and what it computes in."""
    import tensorflow as tf

    from mentornet.config.training import TrainConfig
    from mentornet.config.weighting import WeightingConfig
    from mentornet.datasets.pipeline import training_batches
    from mentornet.datasets.records import Examples
    from mentornet.students import registry
    from mentornet.training import recipe
    from mentornet.training.build import make_trainer

    config = TrainConfig(
        "-",
        "-",
        studentnet=FLAGS.studentnet,
        batch_size=FLAGS.batch_size,
        mixed_precision=FLAGS.precision,
        trained_mentornet_dir="mentornet_pd",
        weighting=WeightingConfig(0.75, example_dropout_rates="0.5,17,0.05,83"),
        record_sample_weights=True,
    )
    config = recipe.resolve(config, recipe.defaults(config, augment=True))
    random = np.random.default_rng(0)
    images = tf.constant(random.integers(0, 256, (10_000, 32, 32, 3), np.uint8))
    labels = np.arange(len(images)) % 10
    examples = Examples(images, (32, 32, 3), labels, labels, labels, labels < 0)
    trainer = make_trainer(config, len(images), 10, (32, 32, 3), examples=examples)
    batches: Iterator[Any] = iter(
        training_batches(
            examples,
            batch_size=FLAGS.batch_size,
            seed=0,
            first_step=0,
            last_step=config.max_number_of_steps,
            augmentation=recipe.augmentation(config),
            standardization=registry.find_student(config.studentnet).recipe.standardization,
        )
    )

    def step() -> None:
        batch = next(batches)
        trainer.step(batch["images"], batch["labels"], batch["positions"]).total_loss.numpy()

    operations = 6 * multiplications(trainer.student) * FLAGS.batch_size
    return step, operations, str(config.mixed_precision)


def make_products(precision: str) -> Callable[[], Any]:
    import tensorflow as tf

    a, b = (tf.cast(tf.random.normal([_SIZE, _SIZE]), precision) for _ in range(2))
    product = tf.function(lambda: tf.linalg.matmul(a, b))
    return lambda: [product()[0, 0].numpy() for _ in range(_PRODUCTS)]


def main() -> None:
    script.load_tensorflow()
    step, operations, precision = make_step()
    products = make_products(precision)
    clocks = {"wall clock": time.perf_counter, "processor": time.process_time}
    seconds: dict[str, list[list[float]]] = {name: [] for name in clocks}
    for number in range(FLAGS.rounds + 2):
        times = [[clock() for clock in clocks.values()]]
        for work in (step, products):
            work()
            times.append([clock() for clock in clocks.values()])
        if number >= 2:
            for k, name in enumerate(clocks):
                seconds[name].append([b[k] - a[k] for a, b in itertools.pairwise(times)])
    for name, rows in seconds.items():
        own, reference = np.median(rows, axis=0)
        rates = operations / own, 2.0 * _SIZE**3 * _PRODUCTS / reference
        shown = f"step {rates[0] / 1e9:.0f}, product {rates[1] / 1e9:.0f} GFLOP/s"
        print(f"{FLAGS.studentnet} {precision} {name}: {shown}, ratio {rates[0] / rates[1]:.2f}")


if __name__ == "__main__":
    script.run(main)
