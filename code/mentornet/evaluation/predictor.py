"""Forward passes in evaluation mode, and accuracies; which records a student can predict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mentornet.core.errors import check
from mentornet.datasets import pipeline, records
from mentornet.datasets.augmentation import views
from mentornet.datasets.catalog import KNOWN, DatasetInfo


@dataclasses.dataclass(frozen=True)
class Predictions:
    """float32 losses [n] (cross entropy with the given label) and logits [n, classes]."""

    losses: np.ndarray
    logits: np.ndarray


class Predictor:
    """Forward passes in evaluation mode.

    Args:
      student: the network.
      standardization: of its inputs, see `datasets.augmentation.standardize`.
      test_time_augmentation: whether logits are averages over `datasets.augmentation.views`.
    """

    def __init__(
        self,
        student: keras.Model,
        standardization: str,
        test_time_augmentation: bool = False,
    ) -> None:
        self.student = student
        self._standardization, self._averages = standardization, test_time_augmentation

    @tf.function(autograph=False, reduce_retracing=True)
    def forward(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """float32 losses [batch] and logits [batch, classes] of standardised images."""
        shown = views(images) if self._averages else [(1.0, images)]
        logits = tf.add_n(
            [w * tf.cast(self.student(view, training=False), tf.float32) for w, view in shown]
        )
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), logits

    def __call__(self, examples: records.Examples, batch_size: int) -> Predictions:
        """Predicts every sample of a split, in order.

        Raises:
          InputError: `test_time_augmentation` is on for features, or a sample cannot be read.
        """
        rule = "`test_time_augmentation` must be off for features."
        fits = not (self._averages and examples.are_features)
        check(fits, rule, test_time_augmentation=self._averages)
        found = pipeline.evaluation_batches(examples, batch_size, self._standardization)
        batches = pipeline.reading(found, "A batch cannot be read")
        outputs = [self.forward(batch["images"], batch["labels"]) for batch in batches]
        losses, logits = (np.concatenate([o[i].numpy() for o in outputs]) for i in range(2))
        return Predictions(losses, logits)


def accuracies(
    predictions: Predictions, examples: records.Examples, info: DatasetInfo
) -> dict[str, Any]:
    """Accuracy, mean cross entropy (nats), and the accuracy of each class that has samples.

    Args:
      predictions: of all examples.
      examples: with the labels to compare with.
      info: names the classes.

    Returns:
      The entries of a row of eval.jsonl, as numbers.
    """
    correct = predictions.logits.argmax(axis=1) == examples.labels
    classes = np.unique(examples.labels)
    return {
        "eval/accuracy": float(correct.mean()),
        "total_loss": float(predictions.losses.mean()),
        "num_examples": len(examples),
        "per_class_accuracy": {
            info.class_name(c): float(correct[examples.labels == c].mean()) for c in classes
        },
    }


def check_fits(
    run: Mapping[str, Any], info: DatasetInfo, examples: records.Examples, data_dir: str
) -> None:
    """Checks that records are of the shape and the classes of a run's student.

    Args:
      run: its configuration, see `runs.students.describe_student`.
      info, examples: the records.
      data_dir: their folder, for the message.

    Raises:
      InputError: they are not.
    """
    shape, trained_on = list(examples.image_shape), list(run["image_shape"])
    rule = "`data_dir` must hold samples of the shape that the student was trained on."
    check(shape == trained_on, rule, data_dir=data_dir, image_shape=shape, trained_on=trained_on)
    rule = "`data_dir` must hold the classes that the student was trained on, in the same order"
    numbers = info.num_classes, run["num_classes"]
    check(numbers[0] == numbers[1], f"{rule}: it has {numbers[0]} instead of {numbers[1]}.")
    if info.name in KNOWN:  # Its classes are the same, whatever a source calls them.
        return
    # Earlier versions did not record their names.
    trained = run.get("class_names", info.class_names)
    for name, expected in zip(info.class_names, trained, strict=True):
        check(name == expected, f"{rule}: it has {name!r} in the place of {expected!r}.")
