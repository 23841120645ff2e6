"""MentoredModel: what fit() computes, saves, restores and leaves behind."""

import itertools
import re
import types
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import MENTORNET, ROOT, warm_server

from mentornet import InputError, MentoredModel, MentorNet, build_student
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.label_noise.history import COLUMNS, SampleHistory
from mentornet.training.build import make_trainer
from mentornet.weighting import keras_adapters, keras_losses
from mentornet.weighting.features import RELEASE
from mentornet.weighting.objective import ObjectiveTerms
from mentornet.weighting.protocol import Weighed

STEPS, BATCH = 8, 16
DROPOUT = "0.5,50,0.1,50"
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    images = generator.normal(size=(STEPS * BATCH, 16, 16, 3)).astype(np.float32)
    return images, generator.integers(0, 10, STEPS * BATCH)


def small_student(seed=0):
    keras.utils.set_random_seed(seed)
    parts = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten()]
    return keras.Sequential([keras.Input((16, 16, 3)), *parts, keras.layers.Dense(10)])


def small_model(total_steps=None, **compiled):
    model = MentoredModel(small_student(), MENTORNET, total_steps=total_steps)
    compiled = {"optimizer": keras.optimizers.SGD(0.05), "loss": LOGITS, **compiled}
    model.compile(**compiled)
    return model


@pytest.mark.parametrize("steps_per_execution", [1, 4])
def test_equals_the_scripts_loop(data, steps_per_execution):
    """The same batches through the scripts' trainer: weights and parameters to 1e-6."""
    config = TrainConfig(
        "-",
        "-",
        studentnet="inception",
        batch_size=BATCH,
        max_number_of_steps=STEPS,
        learning_rate=0.02,
        seed=3,
        trained_mentornet_dir=MENTORNET,
        weighting=WeightingConfig(0.6, 30, example_dropout_rates=DROPOUT),
    )
    trainer = make_trainer(config, 128, 10, (16, 16, 3), dropout_rate=0.0)
    student = build_student("inception", 10, 3, (16, 16, 3), dropout_rate=0.0)
    model = MentoredModel(
        student,
        MENTORNET,
        loss_p_percentile=0.6,
        burn_in_epoch=30,
        example_dropout_rates=DROPOUT,
        seed=3,
    )
    optimizer = keras.optimizers.SGD(0.02)
    model.compile(optimizer, LOGITS, steps_per_execution=steps_per_execution)
    images, labels = data
    history = model.fit(images, labels, BATCH, epochs=1, shuffle=False, verbose=0)
    weighted = []
    for i in range(0, len(labels), BATCH):
        batch = tf.constant(images[i : i + BATCH]), tf.constant(labels[i : i + BATCH])
        outputs = trainer.step(*batch)
        weighted.append(float(outputs.scalars["mentornet/weighted_loss"]))
    assert history.history["loss"][0] == pytest.approx(np.mean(weighted), rel=1e-5)
    weighting: Any = trainer.weighting
    average = float(weighting.loss_moving_average)
    assert float(model.weighting.loss_moving_average) == pytest.approx(average, rel=1e-6)
    for ours, theirs in zip(student.get_weights(), trainer.student.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("accumulated", [None, 3])
@pytest.mark.parametrize("scaled", [False, True])
def test_the_epoch_refers_to_the_whole_training(data, accumulated, scaled):
    """The epochs that a weighting sees, over 5 epochs of 4 steps, however many make an update."""
    seen, told = [], []

    def factory(context):
        epoch = context.variable("epoch", dtype="int64")
        told.append(epoch)

        def weigh(batch):
            epoch.assign(batch.epoch_percentage)
            return tf.ones_like(batch.losses)

        return weigh

    class Spy(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(int(told[0]))

    model = MentoredModel(small_student(), weighting=factory)
    optimizer = keras.optimizers.SGD(0.05, gradient_accumulation_steps=accumulated)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, LOGITS)
    model.fit(*data, 32, 5, 0, [Spy()])
    assert seen == [5 * step for step in range(20)]


def test_the_number_of_steps_must_be_known(data):
    batches = tf.data.Dataset.from_tensor_slices(data).batch(16).repeat()
    with pytest.raises(InputError, match="`total_steps` must be given"):
        small_model().fit(batches.filter(lambda *_: True), epochs=1, shuffle=False)
    images, labels = data
    model = small_model()
    with pytest.raises(InputError, match="`total_steps` must be given"):
        model.train_on_batch(images[:BATCH], labels[:BATCH])
    model.fit(batches, epochs=2, steps_per_epoch=3, shuffle=False, verbose=0)
    model.train_on_batch(images[:BATCH], labels[:BATCH])
    assert int(model.optimizer.iterations) == 7


def test_saving(data, tmp_path):
    """A .keras file of the model is complete; the student's has nothing of the MentorNet."""
    images, labels = data
    model = small_model(total_steps=16, metrics=["accuracy"])
    model.fit(images, labels, BATCH, epochs=1, shuffle=False, verbose=0)
    model.save(tmp_path / "whole.keras")
    model.student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "whole.keras")
    for each in (model, loaded):
        each.fit(images, labels, BATCH, epochs=2, initial_epoch=1, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(loaded.optimizer.iterations) == 16
    code = "import keras, numpy, sys\n"
    code += f"model = keras.models.load_model({str(tmp_path / 'student.keras')!r})\n"
    code += "assert model(numpy.zeros((2, 16, 16, 3))).shape == (2, 10)\n"
    code += "assert not [name for name in sys.modules if name.startswith('mentornet')]\n"
    status, _, output = warm_server().run("-c", code)
    assert status == 0, output
    code = f"import keras, mentornet\nkeras.models.load_model({str(tmp_path / 'whole.keras')!r})\n"
    # Any of our layers and optimizers may be part of it.
    sources = [path.read_text() for path in (ROOT / "code" / "mentornet").rglob("*.py")]
    ours = re.findall(r'serializable\("mentornet"\)\nclass (\w+)', "\n".join(sources))
    names = [f"mentornet>{name}" for name in ours]
    code += f"assert all(map(keras.saving.get_registered_object, {names}))\n"
    status, _, output = warm_server().run("-c", code)
    assert status == 0 and len(names) > 8, output


def test_callbacks(data, tmp_path):
    """An interrupted fit() resumes from its backup exactly; other usual callbacks work."""
    images, labels = data

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def fit(model, *callbacks):
        arguments = {"batch_size": BATCH, "epochs": 4, "shuffle": False, "verbose": 0}
        return model.fit(
            images, labels, validation_data=data, callbacks=list(callbacks), **arguments
        )

    undisturbed = small_model()
    history = fit(
        undisturbed,
        keras.callbacks.TensorBoard(tmp_path / "board"),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
        keras.callbacks.EarlyStopping(patience=10),
    )
    assert len(history.history["val_loss"]) == 4
    best = keras.models.load_model(tmp_path / "best.keras").evaluate(images, labels, verbose=0)
    assert best == pytest.approx(min(history.history["val_loss"]), rel=1e-5)
    assert list((tmp_path / "board").rglob("events*"))
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        fit(small_model(), backup, Interrupt())
    resumed = small_model()
    fit(resumed, keras.callbacks.BackupAndRestore(tmp_path / "backup"))
    for a, b in zip(undisturbed.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_callback_list(data):
    """Keras takes its own container of callbacks, too, which may serve several calls of fit()."""
    model = small_model(total_steps=4 * STEPS)
    inside: list[Any] = [keras.callbacks.History()]
    params = {"epochs": 2, "steps": STEPS, "verbose": 0}
    callbacks = keras.callbacks.CallbackList(inside, model=model, **params)
    for _ in range(2):
        history = model.fit(*data, BATCH, epochs=2, verbose=0, callbacks=callbacks)
    assert int(model._steps) == int(model.optimizer.iterations) == 4 * STEPS
    assert len(callbacks.callbacks) == 2
    assert len(history.history["loss"]) == 4  # The same History in both.


def test_inputs_are_the_students_in_mixed_precision(tmp_path):
    """A float32 layer of the student sees inputs that are not rounded to bfloat16."""
    x = (1000 + np.random.default_rng(0).normal(size=(20, 4))).astype(np.float32)
    keras.utils.set_random_seed(0)
    normalization = keras.layers.Normalization()
    normalization.adapt(x)
    student = keras.Sequential([keras.Input((4,)), normalization, keras.layers.Dense(3)])
    model = MentoredModel(student, MENTORNET, dtype="mixed_bfloat16")
    model.compile("sgd", LOGITS)
    expected = student.predict(x, verbose=0)
    assert expected.std() > 0.1
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    model.save(tmp_path / "whole.keras")
    loaded = keras.models.load_model(tmp_path / "whole.keras")
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)


def test_fit_says_what_auto_did(capsys):
    x, y = np.random.default_rng(0).random((40, 4), np.float32), np.arange(40) % 3
    inputs = {"inputs": x, "positions": np.arange(40)}
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    settings: dict[str, Any] = {"loss_p_percentile": "auto", "num_examples": 40}
    model = MentoredModel(student, MENTORNET, example_dropout_rates="0,100", **settings)
    model.compile("sgd", LOGITS)
    model.fit(inputs, y, batch_size=10, epochs=4, verbose=0)
    assert capsys.readouterr().out == ""
    model.fit(inputs, y, batch_size=10, epochs=4, verbose=2)
    assert "auto: weighted from" in capsys.readouterr().out
    model = MentoredModel(keras.models.clone_model(student), MENTORNET, total_steps=9, **settings)
    model.compile("sgd", LOGITS)
    model.fit(inputs, y, batch_size=10, epochs=2, verbose=2)
    assert "auto" not in capsys.readouterr().out  # One step is left.
    model.fit(inputs, y, batch_size=10, epochs=1, verbose=2)
    assert "auto: " in capsys.readouterr().out


def test_other_losses_and_sample_weights(data):
    """A Keras name or a function works, too; sample weights multiply the MentorNet's."""
    images, labels = data

    def loss(y, outputs):
        return keras.losses.sparse_categorical_crossentropy(y, outputs, from_logits=True)

    class Wrapped(keras.losses.Loss):
        """Of a user who does not mean to save it: without get_config()."""

        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, y, outputs):
            return self.function(y, outputs)

    models = [small_model(), small_model(loss=loss), small_model(), small_model(loss=Wrapped(loss))]
    own = np.full(len(labels), 2.0), np.full(len(labels), 1.0)
    losses = []
    for model, weights in zip(models, (None, *own[::-1], None), strict=True):
        history = model.fit(images, labels, 128, sample_weight=weights, verbose=0, shuffle=False)
        losses.append(history.history["loss"][0])
    once = losses[0]
    assert losses == pytest.approx([once, once, 2 * once, once], rel=1e-6)


@pytest.mark.parametrize("loss", ["hinge", "binary_crossentropy"])
def test_labels_of_one_output_need_no_axis(loss):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(20, 3)).astype(np.float32), np.arange(20) % 2
    dense = keras.layers.Dense(1, activation="sigmoid")
    model = MentoredModel(keras.Sequential([keras.Input((3,)), dense]), weighting="uniform")
    model.compile(keras.optimizers.SGD(0.0), loss)
    found = model.fit(x, y, batch_size=20, verbose=0).history["loss"][0]
    expected = keras.losses.get(loss)(y[:, None].astype(np.float32), dense(x))
    assert found == pytest.approx(float(tf.reduce_mean(expected)), rel=1e-5)


def kernel_after_fit(model, data, **values):
    """Whether each step of this fit() changed the student."""
    kernels = [model.student.get_weights()[0]]
    each = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: kernels.append(model.student.get_weights()[0])
    )
    model.fit(*data, BATCH, verbose=0, callbacks=[each], **values)
    return [bool(np.any(a != b)) for a, b in itertools.pairwise(kernels)]


def test_a_second_fit_may_need_the_number_of_steps(data):
    """If it would go on at the end of the training, where example dropout drops all samples."""
    model = small_model()
    kernel_after_fit(model, data, epochs=2)
    for values in ({"epochs": 2}, {"epochs": 3}, {"epochs": 5, "initial_epoch": 1}):
        with pytest.raises(InputError, match="`total_steps` must be given.* steps_before=16"):
            kernel_after_fit(model, data, **values)
    assert kernel_after_fit(model, data, epochs=2, initial_epoch=2) == []
    assert any(kernel_after_fit(model, data, epochs=4, initial_epoch=2))
    model = MentoredModel(small_student(), weighting="self_paced")
    model.compile(keras.optimizers.SGD(0.05), LOGITS)
    kernel_after_fit(model, data, epochs=2)
    with pytest.raises(InputError, match="`total_steps` must be given.* steps_before=16"):
        kernel_after_fit(model, data, epochs=2)
    kept = {"example_dropout_rates": "0,100"}
    settings: list[dict[str, Any]] = [
        kept,
        {"weighting": "uniform"},
        {"weighting": "self_paced", "weighting_options": kept},
    ]
    for setting in settings:
        other = MentoredModel(small_student(), MENTORNET, **setting)
        other.compile(keras.optimizers.SGD(0.05), LOGITS)
        for _ in range(2):
            assert all(kernel_after_fit(other, data))


def test_a_restored_backup_does_not_change_the_number_of_steps(data, tmp_path):
    def fit(epochs, *more):
        model, backup = small_model(), keras.callbacks.BackupAndRestore(str(tmp_path))
        model.fit(*data, BATCH, epochs=epochs, callbacks=[backup, *more], verbose=0)
        return model

    class Interrupted(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(2, Interrupted())
    model = fit(5)
    assert int(model._steps) == int(model.optimizer.iterations) == 5 * STEPS


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_losses_by_name_are_computed_in_float32(policy):
    y, outputs = tf.constant([0, 1]), tf.constant([[0.999, 0.001], [0.4, 0.6]])
    loss_of = keras_losses.without_reduction("sparse_categorical_crossentropy")
    half = tf.cast(outputs, policy.removeprefix("mixed_"))
    found = keras_losses.sample_losses(loss_of, y, half)
    expected = loss_of(y, tf.cast(half, tf.float32))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_masked_steps_of_a_sequence_do_not_count(policy):
    """Each sample's loss is the mean over its own steps."""
    words, labels = np.array([[3, 1, 0, 0], [2, 2, 1, 3]]), np.array([[0, 1, 1, 1], [1, 0, 0, 1]])
    keras.utils.set_random_seed(0)
    student = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Embedding(5, 3, mask_zero=True, dtype=policy),
            keras.layers.Dense(2, dtype=policy),
        ]
    )
    model = MentoredModel(student, weighting="uniform")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    found = model.fit(words, labels, batch_size=2, verbose=0).history["loss"]
    outputs = tf.cast(student(words), tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs).numpy()
    assert found == pytest.approx([(losses[0, :2].mean() + losses[1].mean()) / 2], rel=1e-5)


def test_losses_of_an_ignored_class_do_not_count():
    """As masked steps: they do not lower the loss of a sample whose other steps count."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    y = tf.constant([[0, 1, -1, -1], [1, 0, 0, 1], [-1, -1, -1, -1]])
    outputs = tf.random.stateless_normal([3, 4, 2], [0, 0])
    loss_of = keras_losses.without_reduction(loss)
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(y, 0), outputs).numpy()
    found = keras_losses.sample_losses(loss_of, y, outputs).numpy()[:, 0]
    assert found.tolist() == pytest.approx([each[0, :2].mean(), each[1].mean(), 0], rel=1e-5)
    found = keras_losses.sample_losses(loss_of, y[..., None], outputs).numpy()[:, 0]
    assert found.tolist() == pytest.approx([each[0, :2].mean(), each[1].mean(), 0], rel=1e-5)
    masked: Any = tf.identity(outputs)
    masked._keras_mask = tf.constant([[True, False, True, True], [True] * 4, [True] * 4])
    found = keras_losses.sample_losses(loss_of, y, masked).numpy()[:, 0]
    assert found.tolist() == pytest.approx([each[0, 0], each[1].mean(), 0], rel=1e-5)


def test_what_has_no_loss_per_sample_is_refused():
    rows, y = tf.ones([2, 3]), tf.constant([0, 1])
    with pytest.raises(InputError, match="must have one output. Received: outputs='list'"):
        keras_losses.sample_losses(lambda y, outputs: outputs, y, [rows, rows])
    with pytest.raises(InputError, match=r"a value per sample.*outputs='\(2, 3\)'"):
        keras_losses.sample_losses(lambda y, outputs: tf.reduce_mean(outputs), y, rows)


@pytest.mark.parametrize(
    "loss",
    [
        "binary_crossentropy",
        keras.losses.BinaryCrossentropy(from_logits=True, name="other"),
        keras.losses.BinaryFocalCrossentropy(),
        keras.losses.SparseCategoricalCrossentropy(ignore_class=0),
    ],
)
def test_some_weightings_need_one_class_per_sample(loss):
    auto = {"loss_p_percentile": "auto", "burn_in_epoch": "auto"}
    for settings in (auto, {"weighting": "elr"}):
        model = MentoredModel(small_student(), num_examples=4, **settings)
        with pytest.raises(InputError, match="needs one class per sample"):
            model.compile("sgd", loss)
        model.compile("sgd", keras.losses.CategoricalCrossentropy())
    MentoredModel(small_student()).compile("sgd", loss)


@pytest.mark.parametrize("student", ["airbench93", small_student])
def test_a_student_is_a_model(student):
    with pytest.raises(InputError, match="`student` must be a keras.Model"):
        MentoredModel(student)


def test_positions_outside_the_samples_are_refused(data):
    auto = {"loss_p_percentile": "auto", "burn_in_epoch": "auto"}
    model = MentoredModel(small_student(), num_examples=BATCH, **auto)
    model.compile("sgd", LOGITS)
    images, labels = (part[:BATCH] for part in data)
    for first in (-1, 1):
        x = {"inputs": images, "positions": np.arange(first, BATCH + first)}
        with pytest.raises(InputError, match=f"Positions must .* least={first}, most="):
            model.fit(x, labels, verbose=0)
    model.fit({"inputs": images, "positions": np.arange(BATCH)}, labels, verbose=0)


def test_remarks_are_printed_where_a_training_is_stopped_early(data, capsys):
    auto = {"loss_p_percentile": "auto", "burn_in_epoch": "auto"}
    model = MentoredModel(small_student(), num_examples=len(data[0]), **auto)
    model.compile("sgd", LOGITS)
    x = {"inputs": data[0], "positions": np.arange(len(data[0]))}
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == 1)
    )
    model.fit(x, data[1], BATCH, epochs=9, callbacks=[stop], verbose=2)
    assert "auto: no sample was down-weighted" in capsys.readouterr().out
    model.fit(x, data[1], BATCH, epochs=4, initial_epoch=3, verbose=0)
    assert "auto" not in capsys.readouterr().out


def test_the_student_is_exported(data, tmp_path):
    model = small_model()
    model.fit(*data, BATCH, verbose=0)
    model.export(tmp_path / "exported", verbose=False)
    loaded: Any = tf.saved_model.load(tmp_path / "exported")
    images = data[0][:4]
    np.testing.assert_allclose(loaded.serve(images), model.student(images), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_a_student_without_an_input_is_built_with_the_model():
    student = keras.Sequential([keras.layers.Dense(3)])
    model = MentoredModel(student, weighting="uniform")
    model.build((None, 4))
    assert model.built and [tuple(weight.shape) for weight in student.weights] == [(4, 3), (3,)]


@pytest.mark.filterwarnings("error")
def test_a_subclassed_student_builds_itself(data):
    class Student(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = small_student()

        def call(self, inputs):
            return self.inner(inputs)

    model = MentoredModel(Student(), weighting="uniform")
    model.compile(keras.optimizers.SGD(0.05), LOGITS)
    before = model.student.inner.get_weights()[0]
    model.fit(*data, BATCH, verbose=0)
    assert np.abs(model.student.inner.get_weights()[0] - before).max() > 1e-4


def test_sample_weights_are_one_per_sample():
    """Their shape may be known only at run time."""
    x, y = np.zeros((6, 4, 3), np.float32), np.zeros((6, 4), np.int64)
    shapes = tf.TensorSpec((6, 4, 3)), tf.TensorSpec((6, 4), tf.int64), tf.TensorSpec((None, None))

    def fit(weights, is_known):
        student = keras.Sequential([keras.Input((4, 3)), keras.layers.Dense(3)])
        model = MentoredModel(student, weighting="uniform", total_steps=20)
        model.compile("sgd", LOGITS)
        batches = tf.data.Dataset.from_tensors((x, y, weights))
        if not is_known:
            batches = tf.data.Dataset.from_generator(
                lambda: iter([(x, y, weights)]), output_signature=shapes
            )
        return model.fit(batches.repeat(), steps_per_epoch=1, shuffle=False, verbose=0).history

    expected = fit(np.full(6, 2.0, np.float32), True)["loss"]
    for is_known in (True, False):
        assert fit(np.full((6, 1), 2.0, np.float32), is_known)["loss"] == pytest.approx(expected)
    with pytest.raises(InputError, match="`sample_weight` must hold one number per sample"):
        fit(np.ones((6, 4), np.float32), True)


def test_a_student_that_is_built_later(tmp_path):
    """Its number of classes is not known at first, in the saved model as little."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(40, 5)).astype(np.float32), np.arange(40) % 3
    inputs = {"inputs": x, "positions": np.arange(40)}

    def fitted(**values):
        student = keras.Sequential([keras.layers.Dense(3)])
        model = MentoredModel(student, num_examples=40, **values)
        model.compile("sgd", LOGITS)
        model.fit(inputs, y, 10, epochs=3, verbose=0)
        return model

    model = fitted(loss_p_percentile="auto", total_steps=50)
    model.save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    assert model.num_classes == loaded.num_classes == 0
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match="`num_classes` must be given"):
        fitted(weighting="elr")
    assert fitted(weighting="elr", num_classes=3).num_classes == 3


def test_the_history_of_mixed_samples_holds_their_plain_losses():
    history, one = SampleHistory(2), tf.ones([2, 1])
    terms = ObjectiveTerms(2 * one, Weighed(0 * one, 0.5 * one), 7 * one, one)
    keras_adapters.record(
        history, terms, tf.constant([0, 1]), tf.constant([1, 0]), tf.zeros([2, 3])
    )
    row = history.read(tf.constant([0, 1]))
    assert row["mean_loss"].numpy().tolist() == [2, 2]
    assert row["mean_weight"].numpy().tolist() == [0.5, 0.5]


def test_counts_may_be_numpy_and_only_classes_are_counted():
    keras_adapters.check_whole(1, total_steps=np.int64(3), num_examples=None)
    for shape, number in (((None, 5, 4), 0), ((None, 4), 4), (None, 0)):
        student: Any = types.SimpleNamespace(output_shape=shape)
        assert keras_adapters.num_outputs(student) == number


def test_a_model_with_numpy_settings_is_saved(data, tmp_path):
    settings = {"loss_p_percentile": np.float32(0.5), "example_dropout_rates": np.zeros(100)}
    cases: list[dict[str, Any]] = [
        {"weighting": "self_paced", "weighting_options": settings},
        settings,
    ]
    for number, values in enumerate(cases):
        model = MentoredModel(small_student(), **values)
        model.compile(keras.optimizers.SGD(0.05), LOGITS)
        model.fit(*data, BATCH, verbose=0)
        path = tmp_path / f"{number}.keras"
        model.save(path)
        config = keras.saving.load_model(path).weighting.config
        assert (config.loss_p_percentile, config.example_dropout_rates) == (0.5, (0.0,) * 100)


def test_which_losses_take_logits():
    """A class that does not say is taken for one that does, as a function is; Keras' are not."""

    class Own(keras.losses.Loss):
        def call(self, y, outputs):
            return tf.reduce_mean(outputs - y)

    class OfProbabilities(Own):
        from_logits = False

    class SaysItInItsConfiguration(Own):
        def get_config(self):
            return {"from_logits": False}

    class OfAModuleLikeKeras(Own):
        __module__ = "keras_losses_of_ours"

    cases: tuple[tuple[Any, bool], ...] = (
        (Own(), True),
        (OfAModuleLikeKeras(), True),
        (OfProbabilities(), False),
        (SaysItInItsConfiguration(), False),
        (lambda y, outputs: outputs, True),
        ("sparse_categorical_crossentropy", False),
        (keras.losses.MeanSquaredError(), False),
        (LOGITS, True),
    )
    for loss, expected in cases:
        assert keras_losses.takes_logits(loss) == expected


def test_total_steps_rule_outside_fit(data):
    """train_on_batch knows how long the training is: at first half is dropped, not all."""
    images, labels = data
    model = small_model(total_steps=100)
    for start in range(0, 3 * BATCH, BATCH):
        before = model.student.get_weights()[0]
        model.train_on_batch(images[start : start + BATCH], labels[start : start + BATCH])
        assert (model.student.get_weights()[0] != before).any()


def test_bad_input():
    student = small_student()
    for arguments, part in (
        ({"mentor": "nowhere"}, "No MentorNet checkpoint"),
        ({"loss_p_percentile": 2}, "`loss_p_percentile`"),
        ({"total_steps": 0}, "`total_steps` must be a whole number of at least 1"),
        ({"total_steps": 10.0}, "`total_steps` must be a whole number of at least 1"),
        ({"num_examples": 0}, "`num_examples` must be a whole number of at least 1"),
        ({"second_reweight": True}, "`second_reweight` needs mixup_alpha"),
        (
            {"second_reweight": True, "mixup_alpha": 0.4, "weighting": "uniform"},
            "a weighting other than uniform",
        ),
        ({"weighting_options": {"gamma": 2}}, "`weighting_options` needs `weighting`"),
        (
            {"mentor": MentorNet(features=(*RELEASE, "loss_variance"))},
            "`num_examples` must be given",
        ),
        (
            {"mentor": MentorNet(features=(*RELEASE, "weather")), "num_examples": 5},
            "features must be among loss_variance",
        ),
    ):
        with pytest.raises(InputError, match=part):
            MentoredModel(student, **arguments)
    for compiled, part in (
        ({}, "`loss` must be one loss"),
        ({"loss": [LOGITS, LOGITS]}, "`loss` must be one loss"),
        ({"loss": {"a": LOGITS}}, "`loss` must be one loss"),
        ({"loss": LOGITS, "loss_weights": 0.1}, "`loss_weights` cannot be used"),
    ):
        with pytest.raises(InputError, match=part):
            MentoredModel(student).compile("sgd", **compiled)
    auto = {"loss_p_percentile": "auto"}
    for values in (
        {"mixup_alpha": 0.4},
        auto | {"num_examples": 5},
        {"weighting": "self_paced", "weighting_options": auto, "num_examples": 5},
    ):
        with pytest.raises(InputError, match="`jit_compile` cannot be used with mixup_alpha or"):
            MentoredModel(student, **values).compile("sgd", LOGITS, jit_compile=True)


REPLICAS = """
import sys
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
import keras
import mentornet
generator = np.random.default_rng(0)
images = generator.normal(size=(96, 16, 16, 3)).astype("float32")
labels = generator.integers(0, 10, 96)
for count in (1, 4):
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])
    with strategy.scope():
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Flatten(), keras.layers.Dense(16, "relu"), keras.layers.Dense(10)]
        student = keras.Sequential([keras.Input((16, 16, 3)), *layers])
        dropout = "0.5,50,0,50"
        model = mentornet.MentoredModel(student, "mentornet_pd", example_dropout_rates=dropout)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.02), loss)
    history = model.fit(images, labels, batch_size=24, epochs=5, shuffle=False, verbose=0)
    losses = np.array(history.history["loss"])
    np.savez(f"{sys.argv[1]}/{count}.npz", *model.get_weights(), losses=losses)
"""


@pytest.mark.slow
def test_replicas_agree(tmp_path):
    """1 and 4 replicas of the same global batches: same losses, same parameters to 1e-5."""
    status, _, output = warm_server().run("-c", REPLICAS, tmp_path)
    assert status == 0, output[-2000:]
    alone, four = (dict(np.load(tmp_path / f"{count}.npz")) for count in (1, 4))
    for name, value in alone.items():
        np.testing.assert_allclose(four[name], value, atol=1e-5, err_msg=name)
    assert np.abs(alone["losses"]).min() > 0.1


def test_labels_and_outputs_of_a_classifier():
    rows = tf.constant([[0.25, 0.75, 0.0], [0.0, 1.0, 0.0]])
    found: Any = keras_losses.class_logits(rows, are_logits=False)
    np.testing.assert_allclose(found, np.log(np.maximum(rows, 1e-7)), rtol=1e-6)
    np.testing.assert_array_equal(keras_losses.class_logits(rows, are_logits=True), rows)
    for other in (rows[:, :1], rows[None], {"a": rows}):
        assert keras_losses.class_logits(other, are_logits=True) is None
    assert keras_losses.class_logits(rows[:, :2], are_logits=True) is not None
    two: Any = keras_losses.class_labels(tf.one_hot([1, 0], 2))
    assert two.numpy().tolist() == [1, 0]
    for labels in (tf.one_hot([2, 0], 3), tf.constant([[2], [0]]), tf.constant([2, 0])):
        classes: Any = keras_losses.class_labels(labels)
        assert classes.numpy().tolist() == [2, 0]
    assert keras_losses.class_labels(rows[None]) is None


def test_a_history_of_other_columns_is_refused():
    model = MentoredModel(small_student(), weighting="elr", num_examples=STEPS * BATCH)
    assert "history_columns" not in model.get_config()
    auto = {"loss_p_percentile": "auto", "burn_in_epoch": "auto"}
    model = MentoredModel(small_student(), MENTORNET, num_examples=STEPS * BATCH, **auto)
    saved = model.get_config()
    assert saved["history_columns"] == list(COLUMNS)
    assert MentoredModel.from_config(saved).get_config()["history_columns"] == list(COLUMNS)
    saved["history_columns"] = [*COLUMNS][::-1]
    with pytest.raises(InputError, match="The model's history must have the columns num_seen"):
        MentoredModel.from_config(saved)


@pytest.mark.parametrize("softmax", [False, True])
def test_fit_adds_the_term_of_elr(data, softmax):
    """In the first step the moving average is 0.3 times the predictions."""
    images, labels = data
    student = small_student()
    p = tf.nn.softmax(student(images)).numpy()
    if softmax:
        student = keras.Model(student.inputs[0], keras.layers.Softmax()(student.outputs[0]))
    model = MentoredModel(student, weighting="elr", num_examples=len(labels))
    model.compile(
        keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy" if softmax else LOGITS
    )
    x = {"inputs": images, "positions": np.arange(len(labels))}
    found = model.fit(x, labels, len(labels), verbose=0).history["loss"][0]
    agreement = 0.3 * np.square(p.clip(1e-4, 1 - 1e-4)).sum(1)
    expected = -np.log(p[np.arange(len(labels)), labels]) + 3 * np.log(1 - agreement)
    assert found == pytest.approx(expected.mean(), rel=1e-2)


def test_a_saved_model_keeps_its_seed_and_its_momentum(data, tmp_path):
    settings: dict[str, Any] = {"total_steps": 16, "seed": 3, "example_dropout_rates": DROPOUT}
    model = MentoredModel(small_student(), MENTORNET, **settings)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), LOGITS)
    how: dict[str, Any] = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    model.fit(*data, epochs=1, **how)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    for each in (model, loaded):
        each.fit(*data, epochs=2, initial_epoch=1, **how)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_loss_of_a_sample_of_several_places_is_their_mean():
    x = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    y = np.arange(30).reshape(6, 5) % 4
    student = keras.Sequential([keras.Input((5, 3)), keras.layers.Dense(4)])
    model = MentoredModel(student, weighting="uniform")
    model.compile(keras.optimizers.SGD(0.0), LOGITS)
    expected = float(LOGITS(y, student(x)))
    found = model.fit(x, y, 6, verbose=0).history["loss"][0]
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {
            "loss_p_percentile": 0.6,
            "burn_in_epoch": 20,
            "fixed_epoch_after_burn_in": True,
            "loss_moving_average_decay": 0.25,
            "example_dropout_rates": DROPOUT,
        },
        {"loss_p_percentile": "auto", "burn_in_epoch": "auto", "class_balanced": True},
    ],
    ids=["fixed", "auto"],
)
def test_every_setting_reaches_the_weighting_and_a_saved_model(settings):
    """Also the length of the training, where a loaded model is trained in further calls."""
    own: dict[str, Any] = {"total_steps": 100, "seed": 3, "num_examples": STEPS * BATCH}
    model = MentoredModel(small_student(), MENTORNET, **own, **settings)
    for each in (model, MentoredModel.from_config(model.get_config())):
        weighting: Any = each.weighting
        assert weighting.config == WeightingConfig(**settings)
        assert {name: getattr(each, name) for name in own} == own


def test_a_list_of_callbacks_is_used_again(data):
    model, of_a_list = small_model(2 * STEPS), {"epochs": 1, "steps": STEPS, "verbose": 0}
    callbacks = keras.callbacks.CallbackList([], True, model=model, **of_a_list)
    for _ in range(2):
        model.fit(*data, batch_size=BATCH, callbacks=callbacks, verbose=0)
        assert int(model._steps.numpy()) == 2 * STEPS
        own = [c for c in callbacks.callbacks if isinstance(c, keras_adapters.TotalSteps)]
        assert len(own) == 1 and len(callbacks.callbacks) == 2


def test_a_history_is_of_a_classifier():
    history, learned = SampleHistory(4), mock.Mock()
    positions, one_value = tf.constant([0, 1]), tf.zeros([2, 3, 4])
    for labels, logits in ((tf.constant([1, 0]), None), (one_value, tf.zeros([2, 3]))):
        with pytest.raises(InputError, match="needs a student that classifies"):
            keras_adapters.record(history, learned, positions, labels, logits)


def test_positions_are_split_off_where_they_are_needed_and_only_there():
    images = tf.random.stateless_normal([4, 16, 16, 3], [0, 0])
    model = MentoredModel(small_student(), weighting="elr", num_examples=4)
    for x in (images, {"inputs": images, "positions": tf.range(4)}):
        np.testing.assert_allclose(model(x), model.student(images), rtol=1e-6)
    names = "inputs", "positions"
    own = {name: keras.Input((3,), name=name) for name in names}
    student = keras.Model(own, keras.layers.Add()([own[name] for name in names]))
    model = MentoredModel(student, weighting="uniform")
    found = model({"inputs": tf.ones([2, 3]), "positions": tf.fill([2, 3], 4.0)})
    np.testing.assert_array_equal(found, np.full((2, 3), 5.0))


def test_callbacks_in_every_form_that_keras_takes():
    """One, a list or a tuple of them, also with gaps, or none."""
    own: Any = keras_adapters.TotalSteps([])
    one, other, model = keras.callbacks.Callback(), keras.callbacks.Callback(), None
    for given, expected in (
        (one, [one]),
        ([one, None, other], [one, other]),
        ((other, one), [other, one]),
        (None, []),
    ):
        assert own.added_to(given, model) == [own, *expected]


def test_a_training_may_have_one_step():
    model = MentoredModel(small_student(), weighting="uniform", total_steps=1)
    assert model.total_steps == model.set_total_steps(None) == 1


def test_layers_of_ones_own_may_be_given_with_a_configuration():
    class Doubled(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    student = keras.Sequential([keras.Input((3,)), Doubled()])
    config = MentoredModel(student, weighting="uniform").get_config()
    model = MentoredModel.from_config(config, {"Doubled": Doubled})
    np.testing.assert_array_equal(model(tf.ones([2, 3])), np.full((2, 3), 2.0))


def test_labels_of_which_it_is_not_known_what_they_name():
    """Several outputs, and rows whose width is known only once they are there."""
    assert keras_losses.class_labels({"a": tf.constant([1])}) is None
    found: list[Any] = []

    def look(labels):
        found.append(keras_losses.class_labels(labels))

    unknown = tf.TensorSpec([None, None], tf.int64)
    tf.function(look, autograph=False).get_concrete_function(unknown)
    assert found == [None]


def test_what_a_weighting_sees_is_float32_in_mixed_precision():
    rows = tf.constant([[0.25, 0.5]], tf.bfloat16)
    loss = lambda y, outputs: tf.reduce_sum(outputs, axis=1)  # noqa: E731
    logits: Any = keras_losses.class_logits(rows, are_logits=True)
    assert keras_losses.sample_losses(loss, tf.zeros([1]), rows).dtype == tf.float32
    assert logits.dtype == tf.float32
    double = tf.cast(rows, tf.float64)
    assert keras_losses.sample_losses(loss, tf.zeros([1]), double).dtype == tf.float32


@pytest.mark.parametrize("ignored", [0, -1])
def test_any_class_may_be_ignored(ignored):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignored)
    y = tf.where(tf.constant([[1, 0, 0, 0], [1, 1, 0, 1]]) == 1, 1, ignored)
    outputs = tf.random.stateless_normal([2, 4, 2], [0, 0])
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(y, 0), outputs).numpy()
    found = keras_losses.sample_losses(keras_losses.without_reduction(loss), y, outputs).numpy()
    expected = [each[0, 0], each[1, [0, 1, 3]].mean()]
    assert found[:, 0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [tf.float32, tf.uint8, tf.int32])
def test_labels_may_be_of_any_numeric_type(dtype):
    for labels in ([2, 0], [[2], [0]]):
        found: Any = keras_losses.class_labels(tf.constant(labels, dtype))
        assert found.dtype == tf.int64 and found.numpy().tolist() == [2, 0]


def test_labels_of_several_outputs_get_no_axis():
    y, outputs = tf.constant([0, 1]), tf.constant([[0.9, 0.1], [0.4, 0.6]])
    loss_of = keras_losses.without_reduction(tf.nn.sparse_softmax_cross_entropy_with_logits)
    found = keras_losses.sample_losses(loss_of, y, outputs)
    np.testing.assert_allclose(found[:, 0], loss_of(y, outputs), rtol=1e-6)


def test_a_mask_of_steps_that_the_output_no_longer_has():
    y, outputs = tf.constant([0, 1]), tf.random.stateless_normal([2, 3], [0, 0])
    loss: Any = tf.nn.sparse_softmax_cross_entropy_with_logits
    masked: Any = tf.identity(outputs)
    masked._keras_mask = tf.constant([[True, True, False, False], [True] * 4])
    found = keras_losses.sample_losses(loss, y, masked)
    np.testing.assert_allclose(found[:, 0], loss(y, outputs), rtol=1e-5)
