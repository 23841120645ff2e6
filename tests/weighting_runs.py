"""A few steps of a small student under every weighting of the registry.

Run as a script, it trains on one device and in two replicas, and writes both results.
"""

import sys
from typing import Any

import numpy as np

SAMPLES, BATCH, FEATURES, CLASSES, STEPS = 24, 8, 6, 4, 6
# Half of the samples are dropped at first, none later.
DROPOUT = {"example_dropout_rates": "0.5,50,0,50"}
OPTIONS: dict[str, dict[str, Any]] = {
    "mentornet": {"mentor": "mentornet_pd", **DROPOUT},
    "self_paced": DROPOUT,
    "focal_loss": DROPOUT,
    "spcl_linear": DROPOUT,
    "history": {"mentor": "mentornet_dd_history", **DROPOUT},
}
OPTIONS["automatic"] = {"loss_p_percentile": "auto", "burn_in_epoch": "auto", **DROPOUT}
OPTIONS["balanced"] = OPTIONS["automatic"] | {"class_balanced": True}


def method(name):
    """The weighting of the registry: the last three names are settings of one."""
    settings = {"automatic": "self_paced", "balanced": "self_paced", "history": "mentornet"}
    return settings.get(name, name)


def names():
    from mentornet.weighting.methods import WEIGHTINGS

    return (*WEIGHTINGS.names(), "automatic", "balanced", "history")


def look_early():
    """Makes "auto" act after the first epoch, and end the burn-in in any case."""
    from mentornet.weighting import automatic, decisions

    automatic._FIRST_ESTIMATE = 1
    decisions.is_memorising = lambda checks, visits: True


def data():
    """Inputs float32 [SAMPLES, FEATURES] and labels int64 [SAMPLES]."""
    generator = np.random.default_rng(3)
    inputs = generator.normal(size=(SAMPLES, FEATURES)).astype(np.float32)
    return inputs, generator.integers(0, CLASSES, SAMPLES)


def linear_student(seed=0):
    import keras

    keras.utils.set_random_seed(seed)
    layer = keras.layers.Dense(CLASSES, use_bias=False, name="dense")
    return keras.Sequential([keras.Input((FEATURES,)), layer], name="linear")


def make_trainer(name, **options):
    """The scripts' trainer of a linear student, with statistics of each sample."""
    from mentornet.label_noise.history import SampleHistory
    from mentornet.training.optimizers import TF1Momentum
    from mentornet.training.step import Trainer
    from mentornet.training.wrappers import OptimizerUpdate
    from mentornet.weighting import registry
    from mentornet.weighting.protocol import Context

    student, context = linear_student(), Context(5, SAMPLES, CLASSES)
    return Trainer(
        student,
        OptimizerUpdate(TF1Momentum(0.1, 0.9), student),
        weight_decay=0.01,
        weighting=registry.make(method(name), context, {**OPTIONS.get(name, {}), **options}),
        context=context,
        max_number_of_steps=STEPS,
        seed=5,
        history=context.sample_history or SampleHistory(SAMPLES),
    )


def batches(steps=range(STEPS)):
    """Inputs, labels and positions of each step; three steps are a pass over the samples."""
    inputs, labels = data()
    for step in steps:
        order = np.random.default_rng(step // 3).permutation(SAMPLES)
        positions = order[step % 3 * BATCH :][:BATCH]
        yield inputs[positions], labels[positions], positions


def train(trainer, steps=range(STEPS)):
    """The results of some steps."""
    import tensorflow as tf

    return [trainer.step(*map(tf.constant, batch)) for batch in batches(steps)]


def state(trainer):
    """Every number that a checkpoint of the trainer would hold."""
    found = {name: np.asarray(v.numpy()) for name, v in trainer.state().items()}
    return found | {"kernel": trainer.student.get_weights()[0]}


def fit_unevenly():
    """The state of "balanced" after fit(): batches of 10, 10 and 3, of which replicas get 2 and 1.

    Keras itself refuses a first batch that cannot be divided evenly.
    """
    import keras

    from mentornet import MentoredModel

    model = MentoredModel(
        linear_student(),
        weighting=method("balanced"),
        weighting_options=OPTIONS["balanced"],
        num_examples=SAMPLES - 1,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    inputs, labels = data()
    x = {"inputs": inputs[:-1], "positions": np.arange(SAMPLES - 1)}
    model.fit(x, labels[:-1], 10, epochs=4, shuffle=False, verbose=0)
    return {weight.path.rpartition("/")[2]: weight.numpy() for weight in model.weights}


def main(path):
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, logical)
    look_early()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    found = {f"uneven 1 {key}": value for key, value in fit_unevenly().items()}
    with strategy.scope():
        found |= {f"uneven 2 {key}": value for key, value in fit_unevenly().items()}
    for name in names():
        trainer = make_trainer(name)
        train(trainer)
        found |= {f"{name} 1 {key}": value for key, value in state(trainer).items()}
        with strategy.scope():
            trainer = make_trainer(name)
        for batch in batches():
            # Each replica gets one half of the batch.
            halves = [
                strategy.experimental_distribute_values_from_function(
                    lambda context, part=part: tf.constant(
                        np.split(part, 2)[context.replica_id_in_sync_group]
                    )
                )
                for part in batch
            ]
            trainer.step(*halves)
        found |= {f"{name} 2 {key}": value for key, value in state(trainer).items()}
    np.savez(path, **{key: v for key, v in found.items() if v.dtype.kind in "fiu"})


if __name__ == "__main__":
    main(sys.argv[1])
