"""Why parity.py does not judge the release's baseline after its first update.

The golden baseline of `inception` is what comes out when the matrices of the two upper dense
layers are updated *before* the gradient that flows on through them is computed, as TensorFlow 1
may do where gradients are not gated. Later steps fit no such rule, as if which weights are hit
depended on timing. Ours computes the gradient of the loss.
"""

import keras
import numpy as np
import parity
import tensorflow as tf
from helpers import GOLDEN, MENTORNET

LEARNING_RATE = 0.1


def logits_after_one_update(trainer, images, labels, *, race: bool) -> np.ndarray:
    student = trainer.student
    fc4, last = student.get_layer("fc4"), student.get_layer("logits")
    model = keras.Model(student.input, [fc4.input, fc4.output, student.output])
    lower = [
        v for v in student.trainable_variables if v.path.split("/")[0] not in ("fc4", "logits")
    ]
    with tf.GradientTape() as tape:
        h3, h4, logits = model(images, training=True)
    d_logits = (tf.nn.softmax(logits) - tf.one_hot(labels, logits.shape[1])) / len(labels)
    new_last = last.kernel - LEARNING_RATE * (tf.transpose(h4) @ d_logits)
    d_h4 = d_logits @ tf.transpose(new_last if race else last.kernel)
    d_z4 = d_h4 * tf.cast(h4 > 0, tf.float32)
    new_fc4 = fc4.kernel - LEARNING_RATE * (tf.transpose(h3) @ d_z4)
    d_h3 = d_z4 @ tf.transpose(new_fc4 if race else fc4.kernel)
    gradients = tape.gradient(h3, lower, output_gradients=d_h3)
    for variable, gradient in zip(lower, gradients, strict=True):
        variable.assign_sub(LEARNING_RATE * gradient)
    last.bias.assign_sub(LEARNING_RATE * tf.reduce_sum(d_logits, 0))
    fc4.bias.assign_sub(LEARNING_RATE * tf.reduce_sum(d_z4, 0))
    last.kernel.assign(new_last)
    fc4.kernel.assign(new_fc4)
    return student(images, training=True).numpy()


def test_golden_baseline_holds_a_race_and_ours_the_gradient():
    with np.load(GOLDEN / "student_inception.npz") as file:
        golden = dict(file)
    labels = golden["labels"]
    random = np.random.RandomState(int(golden["images_seed"]))
    images = tf.constant(random.randn(len(labels), 32, 32, 3).astype(np.float32))

    def trainer():
        return parity._trainer("inception", "baseline", MENTORNET, golden, 10)

    theirs = golden["baseline_logits"][1]
    raced = logits_after_one_update(trainer(), images, labels, race=True)
    np.testing.assert_allclose(raced, theirs, atol=2e-6)

    ours = trainer()
    ours.step(images, tf.constant(labels))
    gradient = logits_after_one_update(trainer(), images, labels, race=False)
    np.testing.assert_allclose(ours.student(images, training=True), gradient, atol=2e-6)
    assert np.abs(gradient - theirs).max() > 1e-2
