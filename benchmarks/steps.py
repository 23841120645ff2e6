"""The training steps that benchmarks/run.py compares."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

# Others than these test the benchmarks themselves.
BATCH = int(os.environ.get("BENCHMARK_BATCH", "128"))
STUDENT = os.environ.get("BENCHMARK_STUDENT", "inception")

Step = Callable[[], Any]
Measurements = Iterable[tuple[str, float]]  # Names and values, each as it is measured.


def trainer_step(
    name: str,
    size: int,
    mentored: bool,
    recompute: bool = False,
    num_classes: int = 10,
    precision: str = "float32",
) -> Step:
    """One step of the scripts' trainer on a constant batch, in each replica of the strategy."""
    import tensorflow as tf

    from mentornet.config.training import TrainConfig
    from mentornet.config.weighting import WeightingConfig
    from mentornet.training.build import make_trainer

    weighting = WeightingConfig(0.75, example_dropout_rates="0.5,17,0.05,83")
    config = TrainConfig(
        "-",
        "-",
        studentnet=name,
        weighting=weighting if mentored else None,
        trained_mentornet_dir="mentornet_pd",
        recompute_gradients=recompute,
        mixed_precision=precision,
    )
    trainer = make_trainer(config, 50_000, num_classes, (32, 32, 3))
    images, labels = tf.random.normal([size, 32, 32, 3]), tf.zeros([size], tf.int64)
    return lambda: trainer.step(images, labels).total_loss.numpy()


def stock_step() -> Step:
    """STUDENT in a plain tf.function, with TensorFlow's normalisation in place of ours."""
    import keras
    import tensorflow as tf

    from mentornet import build_student
    from mentornet.students.local_response_normalization import LocalResponseNormalization

    def normalize(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.local_response_normalization(x, 4, bias=1.0, alpha=0.001 / 9, beta=0.75)

    def replaced(layer: Any) -> Any:
        is_ours = isinstance(layer, LocalResponseNormalization)
        return (
            keras.layers.Lambda(normalize)
            if is_ours
            else type(layer).from_config(layer.get_config())
        )

    model = keras.models.clone_model(build_student(STUDENT, 10), clone_function=replaced)
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    images, labels = tf.random.normal([BATCH, 32, 32, 3]), tf.zeros([BATCH], tf.int64)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables))
        return loss

    return lambda: step().numpy()


def torch_step() -> Step | None:
    """`inception` and its step in PyTorch, if it is there, by torch_step.py."""
    if STUDENT != "inception" or importlib.util.find_spec("torch") is None:
        return None
    command = [sys.executable, str(pathlib.Path(__file__).with_name("torch_step.py"))]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1)
    assert process.stdin and process.stdout
    sent, received = process.stdin, process.stdout

    def step() -> float:
        sent.write("step\n")
        return float(received.readline())

    return step


def bare_convolutions(name: str, size: int) -> Step:
    """Forward and both backward products of every convolution of a student."""
    import keras
    import tensorflow as tf

    from mentornet import build_student

    layers = [
        layer for layer in build_student(name, 10).layers if isinstance(layer, keras.layers.Conv2D)
    ]
    work = []
    for number, layer in enumerate(layers):
        images = tf.random.normal([size, *layer.input.shape[1:]])
        gradient = tf.random.normal([size, *layer.output.shape[1:]])
        work.append((images, layer.kernel.value, gradient, layer.strides[0], number > 0))

    @tf.function
    def step() -> tf.Tensor:
        total = tf.zeros([])
        for images, kernel, gradient, stride, has_input_gradient in work:
            common = {"strides": [1, stride, stride, 1], "padding": "SAME"}
            total += tf.nn.conv2d(images, kernel, **common)[0, 0, 0, 0]
            back = tf.raw_ops.Conv2DBackpropFilter(
                input=images, filter_sizes=kernel.shape, out_backprop=gradient, **common
            )
            total += back[0, 0, 0, 0]
            if has_input_gradient:
                back = tf.raw_ops.Conv2DBackpropInput(
                    input_sizes=images.shape, filter=kernel, out_backprop=gradient, **common
                )
                total += back[0, 0, 0, 0]
        return total

    return lambda: step().numpy()
