"""Whole training steps against their arithmetic at the speed of a matrix product.

The arithmetic of a step is 6 operations for each multiplication of the forward pass, 2 for kernels
that are not trained. A product of two large matrices in the same precision takes turns with the
step, in the same process. Processor time changes little where other programs run beside this one.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from steps import BATCH, STUDENT, Measurements, Step, trainer_step

PRECISIONS = ("float32", "bfloat16")
_STUDENTS = ((STUDENT, BATCH), ("resnet101", 8))
_PRODUCTS = 4  # In a round.
_CLOCKS: dict[str, Callable[[], float]] = {"": time.perf_counter, "_cpu": time.process_time}


def multiplications(student: Any) -> float:
    """Of a forward pass of one image, those without gradients for a third."""
    total = 0.0
    for layer in student.layers:
        if hasattr(layer, "kernel"):
            places = math.prod(layer.output.shape[1:-1])
            share = 1.0 if layer.kernel.trainable else 1 / 3
            total += share * places * math.prod(layer.kernel.shape)
    return total


def piped_step(name: str, size: int, precision: str) -> Step:
    """A mentored step as the scripts train it: input pipeline, weighting, history and update."""
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
        studentnet=name,
        batch_size=size,
        mixed_precision=precision,
        trained_mentornet_dir="mentornet_pd",
        weighting=WeightingConfig(0.75, example_dropout_rates="0.5,17,0.05,83"),
        record_sample_weights=True,
    )
    config = recipe.resolve(config, recipe.defaults(config, augment=True))
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (10_000, 32, 32, 3), np.uint8))
    labels = np.arange(len(images)) % 10
    examples = Examples(images, (32, 32, 3), labels, labels, labels, labels < 0)
    trainer = make_trainer(config, len(images), 10, (32, 32, 3), examples=examples)
    batches = iter(
        training_batches(
            examples,
            batch_size=size,
            seed=0,
            first_step=0,
            last_step=config.max_number_of_steps,
            augmentation=recipe.augmentation(config),
            standardization=registry.find_student(name).recipe.standardization,
        )
    )

    def step() -> None:
        batch = next(batches)
        trainer.step(batch["images"], batch["labels"], batch["positions"]).total_loss.numpy()

    return step


def products(width: int, precision: str) -> Step:
    """Several products of two square matrices."""
    import tensorflow as tf

    a, b = (tf.cast(tf.random.normal([width, width]), precision) for _ in range(2))
    product = tf.function(lambda: tf.linalg.matmul(a, b))
    return lambda: [product()[0, 0].numpy() for _ in range(_PRODUCTS)]


def over_arithmetic(
    name: str, step: Step, size: int, precision: str, quick: bool, samples: dict[str, Any]
) -> Measurements:
    """Seconds of a student's step over those of its arithmetic, by either clock."""
    from mentornet import build_student

    width, rounds = (128, 2) if quick else (2048, 8)
    product = products(width, precision)
    turns = []
    for _ in range(rounds + 2):
        times = [[clock() for clock in _CLOCKS.values()]]
        for work in (step, product):
            work()
            times.append([clock() for clock in _CLOCKS.values()])
        turns.append([np.subtract(end, start) for start, end in itertools.pairwise(times)])
    seconds: np.ndarray = np.array(turns[2:])  # [rounds, step or products, clocks]
    samples[f"{name}_{precision}_and_products_s"] = seconds.tolist()
    operations = 6 * multiplications(build_student(name, 10)) * size
    arithmetic = np.median(seconds[:, 1], axis=0) * operations / (2.0 * width**3 * _PRODUCTS)
    ratios = np.median(seconds[:, 0], axis=0) / arithmetic
    ending = "_bfloat16" if precision == "bfloat16" else ""
    for clock, ratio in zip(_CLOCKS, ratios, strict=True):
        yield f"{name}{ending}_over_arithmetic{clock}", float(ratio)


def step_over_arithmetic(quick: bool, samples: dict[str, Any]) -> Measurements:
    """STUDENT, a residual network and a fast student, in both precisions."""
    students = [(name, size, p) for p in PRECISIONS for name, size in _STUDENTS]
    for name, size, precision in students[:1] if quick else students:
        step = trainer_step(name, size, True, precision=precision)
        yield from over_arithmetic(name, step, size, precision, quick, samples)
    fast, size = ("airbench93", 4) if quick else ("airbench94", 512)
    for precision in PRECISIONS[1:] if quick else PRECISIONS:
        step = piped_step(fast, size, precision)
        yield from over_arithmetic(fast, step, size, precision, quick, samples)
