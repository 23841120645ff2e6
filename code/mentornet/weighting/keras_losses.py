"""The losses of samples, and the labels and logits, of a Keras model that fit() trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from mentornet.core.errors import check

_SMALLEST_PROBABILITY = 1e-7


def without_reduction(loss: Any) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A loss that returns one value per sample.

    Raises:
      InputError: `loss` is None, or several.
    """
    is_one = loss is not None and not isinstance(loss, (dict, list, tuple))
    check(is_one, "`loss` must be one loss.", loss=loss)
    loss = keras.losses.get(loss)
    if not isinstance(loss, keras.losses.Loss):
        return loss
    # Not through get_config(), which a user's own class need not have.
    copied = object.__new__(type(loss))
    copied.__dict__.update(loss.__dict__, reduction=None)
    return copied


def sample_losses(
    loss_of: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None, y: Any, y_pred: Any
) -> tf.Tensor:
    """The loss of each sample, by a loss without reduction; float32 [batch, 1].

    Of a sample with several losses (of time steps, pixels, ...) it is the mean of those that are
    neither masked nor of the loss's `ignore_class`, or 0 if all are; the percentiles include it.

    Raises:
      InputError: the student has several outputs, or the loss has no value for each sample.
    """
    assert loss_of is not None  # compile() sets it.
    check(tf.is_tensor(y_pred), "The student must have one output.", outputs=type(y_pred).__name__)
    counted = _counted(loss_of, y, y_pred)
    if y_pred.dtype in (tf.float16, tf.bfloat16):  # As Keras' own Loss objects do.
        y_pred = tf.cast(y_pred, tf.float32)
    if y_pred.shape.rank == 2 and y_pred.shape[1] == 1 and y.shape.rank == 1:
        y = y[:, None]  # As Keras does; otherwise they would broadcast to [batch, batch].
    losses = tf.cast(loss_of(y, y_pred), tf.float32)
    rule = "`loss` must return a value per sample; outputs are [batch, classes] or [batch, 1]."
    check(losses.shape.rank != 0, rule, outputs=str(y_pred.shape))
    parts = tf.reshape(losses, [tf.shape(losses)[0], -1])
    if counted is None or counted.shape.rank != losses.shape.rank:
        return tf.reduce_mean(parts, axis=1)[:, None]
    kept = tf.reshape(tf.cast(counted, tf.float32), tf.shape(parts))
    sums = (tf.reduce_sum(values, axis=1) for values in (parts * kept, kept))
    return tf.math.divide_no_nan(*sums)[:, None]


def _counted(loss_of: Any, y: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor | None:
    """Which of a sample's losses count, bool [batch, ...]; None if all do."""
    mask = getattr(y_pred, "_keras_mask", None)
    ignored = getattr(loss_of, "ignore_class", None)
    if ignored is None:
        return mask
    if y.shape.rank == y_pred.shape.rank:
        y = tf.squeeze(y, axis=-1)
    is_class = tf.not_equal(tf.cast(y, tf.int64), ignored)
    return is_class if mask is None else tf.logical_and(is_class, tf.cast(mask, tf.bool))


def check_classifies(loss: Any) -> None:
    """Raises InputError for a binary loss, or one that ignores some labels."""
    loss = keras.losses.get(loss)
    binary = (keras.losses.binary_crossentropy, keras.losses.binary_focal_crossentropy)
    is_binary = getattr(loss, "fn", loss) in binary  # Keras' classes wrap functions.
    fits = not is_binary and getattr(loss, "ignore_class", None) is None
    rule = "This weighting needs one class per sample, and an output per class."
    check(fits, rule, loss=getattr(loss, "name", getattr(loss, "__name__", loss)))


def takes_logits(loss: Any) -> bool:
    """Whether a loss takes logits; one that is not Keras' own and does not say is assumed to."""
    loss = keras.losses.get(loss)
    is_keras = getattr(loss, "__module__", "").startswith("keras.")  # Of the class, or function.
    if not isinstance(loss, keras.losses.Loss):
        return not is_keras
    said = loss.get_config().get("from_logits", getattr(loss, "from_logits", None))
    return not is_keras if said is None else bool(said)


def class_labels(y: Any) -> tf.Tensor | None:
    """Labels int64 [batch], from [batch], [batch, 1], or each row's largest; None for others."""
    if not tf.is_tensor(y):
        return None
    if y.shape.rank == 2 and y.shape[1] is not None and y.shape[1] > 1:
        return tf.argmax(y, axis=1)
    single = y.shape.rank == 1 or (y.shape.rank == 2 and y.shape[1] == 1)
    return tf.cast(tf.reshape(y, [-1]), tf.int64) if single else None


def class_logits(outputs: Any, are_logits: bool) -> tf.Tensor | None:
    """Logits, float32 [batch, classes], of a classifier; None for other models.

    Args:
      outputs: of the model.
      are_logits: whether these are logits; otherwise they are probabilities.
    """
    if not tf.is_tensor(outputs) or outputs.shape.rank != 2 or outputs.shape[1] == 1:
        return None
    outputs = tf.cast(outputs, tf.float32)
    return outputs if are_logits else tf.math.log(tf.maximum(outputs, _SMALLEST_PROBABILITY))
