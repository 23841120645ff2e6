"""What every weighting of the registry must do, and each one against NumPy."""

import dataclasses
import functools
import pathlib
import re
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import weighting_runs
from helpers import ROOT, run
from scipy.special import softmax
from weighting_runs import BATCH, CLASSES, OPTIONS, SAMPLES, STEPS, batches, make_trainer, train

from mentornet import InputError, MentoredModel
from mentornet.config.weighting import NamedWeighting, WeightingConfig
from mentornet.core.registry import Registry
from mentornet.label_noise.history import SampleHistory
from mentornet.learning import curricula
from mentornet.runs.checkpoints import RunCheckpoint
from mentornet.weighting import automatic, decisions, registry
from mentornet.weighting.curriculum import ClosedForm, CurriculumWeighting
from mentornet.weighting.features import FURTHER, RELEASE
from mentornet.weighting.mentor import MentorNet
from mentornet.weighting.mentor_checkpoints import mentornet_fingerprint, save_mentornet
from mentornet.weighting.methods import WEIGHTINGS, gce
from mentornet.weighting.protocol import Batch, Context, Weighed, as_weighed

every_weighting = pytest.mark.parametrize("name", weighting_runs.names())


@pytest.fixture(autouse=True)
def early_checks(monkeypatch):
    monkeypatch.setattr(automatic, "_FIRST_ESTIMATE", 1)
    monkeypatch.setattr(decisions, "is_memorising", lambda checks, visits: True)


def a_batch(losses, **values):
    losses = tf.constant(losses, tf.float32)[:, None]
    return Batch(losses, **({"epoch_percentage": 60, "global_step": 3} | values))


@every_weighting
def test_weights_are_finite_and_one_a_sample(name):
    """From tiny to huge losses, with logits to match, twice in a row."""
    context = Context(0, num_examples=20, num_classes=CLASSES)
    weighting = registry.make(weighting_runs.method(name), context, OPTIONS.get(name, {}))
    logits = tf.constant([[0.0, 0, 0, 0], [100, 0, 0, 0], [-100, 0, 0, 0], [1, 2, 3, 4]])
    labels = tf.zeros([4], tf.int64)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    positions = tf.constant([3, 19, 0, 7], tf.int64)
    for _ in range(2):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            batch = a_batch(losses, logits=logits, labels=labels, positions=positions)
            weighed: Any = as_weighed(weighting(batch), batch)
            # A constant for those that add nothing, so that there is a gradient.
            added = 0 * logits if weighed.added is None else weighed.added
        assert weighed.weights.shape == weighed.before_dropout.shape == (4, 1)
        assert weighed.weights.dtype == tf.float32
        for values in (weighed.weights, weighed.before_dropout):
            assert np.all((values.numpy() >= 0) & (values.numpy() <= 1))
        assert np.isfinite(added.numpy()).all()
        assert np.isfinite(tape.gradient(added, logits).numpy()).all()


@every_weighting
def test_a_run_goes_on_from_its_checkpoint(name, tmp_path):
    """Bit for bit, including statistics and per-sample state."""
    whole, first, second = (make_trainer(name) for _ in range(3))
    train(whole)
    train(first, range(STEPS // 2))
    for trainer, use in ((first, RunCheckpoint.save), (second, RunCheckpoint.restore_latest)):
        parts: Any = trainer.student, {}, trainer.state(), 1, [trainer.history]
        use(RunCheckpoint(str(tmp_path), *parts))
    train(second, range(STEPS // 2, STEPS))
    a, b = weighting_runs.state(whole), weighting_runs.state(second)
    assert a.keys() == b.keys()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key], err_msg=key)
    start = weighting_runs.linear_student().get_weights()[0]
    assert np.abs(a["kernel"] - start).max() > 1e-3
    for key in ("automatic_percentile", "automatic_burn_in_end"):
        assert (name in ("automatic", "balanced")) == (key in a) and a.get(key, 1) > 0


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    path = tmp_path_factory.mktemp("replicas") / "states.npz"
    status, output = run("tests/weighting_runs.py", str(path))
    assert status == 0, output[-2000:]
    return dict(np.load(path))


@pytest.mark.parametrize("name", [*weighting_runs.names(), "uneven"])
def test_two_replicas_are_one_device(name, replicas):
    keys = {key.split(" ")[2] for key in replicas if key.startswith(f"{name} 1 ")}
    own = "automatic_samples_passes" if name == "uneven" else "num_used"
    assert {"kernel", "sample_history", own} <= keys
    for key in keys:
        one, two = (replicas[f"{name} {count} {key}"] for count in (1, 2))
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6, err_msg=key)


def test_uneven_batches_end_each_pass_once(replicas):
    """Of "auto": the checks are those of all visits, and follow passes."""
    checks = replicas["uneven 1 automatic_changed_visits"]
    assert np.flatnonzero(checks[:, 1]).tolist() == [25, 50, 75]  # Percent of the training.
    assert checks[checks[:, 1] > 0, 1].tolist() == [23, 46, 69]
    percentiles = replicas["uneven 1 automatic_by_class"]
    assert ((percentiles > 0) & (percentiles < 1)).any()


LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fitted(name, model=None, epochs=2, initial_epoch=0, **values):
    is_mentored = weighting_runs.method(name) == "mentornet"
    options = OPTIONS.get(name, {})
    if model is None:
        model = MentoredModel(
            weighting_runs.linear_student(),
            weighting=weighting_runs.method(name),
            num_examples=SAMPLES,
            **(options if is_mentored else {"weighting_options": options}),
            **values,
        )
        model.compile(keras.optimizers.SGD(0.1), LOGITS, metrics=["accuracy"])
    inputs, labels = weighting_runs.data()
    context = Context(num_examples=SAMPLES, num_classes=CLASSES)
    registry.make(weighting_runs.method(name), context, options)
    per_sample = {"inputs": inputs, "positions": np.arange(SAMPLES)}
    x = per_sample if context.needs_positions else inputs
    how = {"epochs": epochs, "initial_epoch": initial_epoch, "shuffle": False, "verbose": 0}
    history = model.fit(x, labels, BATCH, **how)
    assert np.isfinite(history.history["loss"]).all()
    return model


@every_weighting
def test_fit_and_saving(name, tmp_path):
    """A model that is saved, loaded and trained further equals one that was not."""
    whole = fitted(name, epochs=2, total_steps=6)
    half = fitted(name, epochs=1, total_steps=6)
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    fitted(name, loaded, initial_epoch=1)
    for a, b in zip(whole.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    inputs, labels = weighting_runs.data()
    plain = loaded.student(inputs).numpy()
    np.testing.assert_allclose(loaded.predict(inputs, verbose=0), plain, rtol=1e-5)
    assert len(loaded.evaluate(inputs, labels, verbose=0)) == 2


def weight_of(name, loss, options=None):
    """The first weight of a sample in a batch of equal losses, without dropout."""
    plain = {"example_dropout_rates": "0,100"}
    known = registry.options_of(name)
    options = {key: value for key, value in plain.items() if key in known} | (options or {})
    weighting = registry.make(name, Context(0), options)
    batch = a_batch([loss, loss, loss])
    return float(as_weighed(weighting(batch), batch).weights[0, 0])


def test_defaults_and_bounds_of_the_options():
    """Worked by hand: the moving average of the loss begins at half of the loss."""
    assert weight_of("gce", 1) == pytest.approx(np.exp(-0.7))
    assert weight_of("gce", 1, {"q": 0}) == 1
    assert weight_of("gce", 1, {"q": 1}) == pytest.approx(np.exp(-1))
    assert weight_of("spcl_linear", 1) == pytest.approx(0.5)
    assert weight_of("focal_loss", 1, {"gamma": 0.5}) == pytest.approx((1 - np.exp(-1)) ** 0.5)
    for options in ({"beta": 0}, {"beta": 1}, {"lambda": 0}):
        elr = registry.make("elr", Context(0, num_examples=4, num_classes=2), options)
        for known in ({"logits": tf.zeros([1, 2])}, {"positions": tf.zeros([1], tf.int64)}):
            with pytest.raises(InputError, match="elr needs logits and positions"):
                elr(a_batch([1.0], **known))
    # A loss equal to its moving average has weight 1.
    assert [weight_of("self_paced", loss) for loss in (0, 1)] == [1, 0]
    for name, option, values in (
        ("gce", "q", (-0.01, 1.01)),
        ("spcl_linear", "gamma", (0, -1)),
        ("focal_loss", "gamma", (0, -1)),
        ("elr", "beta", (-0.01, 1.01)),
        ("elr", "lambda", (-0.01,)),
    ):
        for value in values:
            with pytest.raises(InputError, match=f"`{option}` must"):
                registry.make(name, Context(0, num_examples=4, num_classes=2), {option: value})


def test_what_is_no_function_of_a_context():
    for reference in ("math:pi", "builtins:max"):
        with pytest.raises(InputError, match="do not fit `weighting`"):
            registry.make(reference, Context(0), {})


def test_added_terms_are_one_per_sample():
    """A row would be multiplied by given weights [batch, 1] to [batch, batch]."""
    batch, ones = a_batch([1.0, 2.0]), tf.ones([2, 1])
    with pytest.raises(InputError, match="`weighting` must add one term .* Received: added=.2,."):
        as_weighed(Weighed(ones, added=tf.ones([2])), batch)
    added = as_weighed(Weighed(ones, added=tf.ones([2, 1], tf.float64)), batch).added
    assert added is not None and added.dtype == tf.float32


def test_elr_clips_certain_predictions():
    """By hand, beta 0: p = (0.9999, 1e-4, 1e-4), t = p / 1.0001; one row a sample."""
    elr = registry.make("elr", Context(0, num_examples=2, num_classes=3), {"beta": 0, "lambda": 1})
    logits = tf.constant([[100.0, 0, 0], [100, 0, 0]])
    batch = a_batch([0.0, 0.0], logits=logits, positions=tf.constant([0, 1], tf.int64))
    added = as_weighed(elr(batch), batch).added
    assert added is not None
    agreement = (0.9999**2 + 2e-8) / 1.0001
    np.testing.assert_allclose(added, [[np.log(1 - agreement)]] * 2, rtol=1e-3)


def test_gce_has_the_gradient_of_its_loss():
    """The gradient of (1 - p ** q) / q, by finite differences in NumPy."""
    logits = np.random.default_rng(0).normal(size=(1, CLASSES))
    labels, q, h = [2], 0.6, 1e-5
    weighting = registry.make("gce", Context(), {"q": q})
    x = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, x)
        weights = as_weighed(weighting(a_batch(losses)), a_batch(losses)).weights
        total = tf.reduce_sum(weights[:, 0] * losses)
    expected = []
    for change in h * np.eye(CLASSES):
        up, down = ((1 - softmax(logits + c, axis=1)[0, 2] ** q) / q for c in (change, -change))
        expected.append((up - down) / (2 * h))
    np.testing.assert_allclose(tape.gradient(total, x)[0], expected, rtol=1e-4)


def elr_reference(kernel, steps, beta=0.7, strength=3.0):
    """Steps of TensorFlow 1's momentum on ELR's loss, from its two formulas."""
    targets, velocity = np.zeros((SAMPLES, CLASSES)), np.zeros_like(kernel)
    for inputs, labels, positions in batches(steps):
        p = softmax(inputs @ kernel, axis=1)
        t = beta * targets[positions] + (1 - beta) * p
        targets[positions] = t
        agreement = np.sum(p * t, axis=1, keepdims=True)
        of_loss = p - np.eye(CLASSES)[labels]
        # d/dlogits of log(1 - <p, t>), t held: -p (t - <p, t>) / (1 - <p, t>).
        of_term = -p * (t - agreement) / (1 - agreement)
        gradient = inputs.T @ (of_loss + strength * of_term) / BATCH + 0.01 * kernel
        velocity = 0.9 * velocity + gradient
        kernel = kernel - 0.1 * velocity
    return kernel, targets


def test_elr_equals_numpy():
    trainer = make_trainer("elr")
    kernel = trainer.student.get_weights()[0].astype(np.float64)
    results = train(trainer)
    expected, targets = elr_reference(kernel, range(STEPS))
    np.testing.assert_allclose(trainer.student.get_weights()[0], expected, atol=2e-5)
    np.testing.assert_allclose(trainer.state()["elr_targets"], targets, atol=2e-5)
    scalars = results[-1].scalars
    decay = 0.01 * 0.5 * np.sum(np.square(elr_reference(kernel, range(STEPS - 1))[0]))
    total = scalars["mentornet/weighted_loss"] + scalars["mentornet/added_loss"] + decay
    assert float(scalars["mentornet/total_loss"]) == pytest.approx(float(total), rel=1e-4)
    assert float(scalars["mentornet/added_loss"]) < 0


@pytest.mark.parametrize(
    ("name", "options", "gamma"),
    [
        ("self_paced", {}, None),
        ("focal_loss", {}, None),
        ("focal_loss", {"gamma": 3.0}, 3.0),
        ("spcl_linear", {"gamma": 0.5}, 0.5),
    ],
)
def test_closed_forms_are_the_curricula(name, options, gamma):
    """The NumPy curricula from which the shipped MentorNets were learned."""
    losses = np.random.default_rng(1).exponential(size=30).astype(np.float32)
    more = {"example_dropout_rates": [0.0] * 100, "loss_p_percentile": 0.75}
    weighting = registry.make(name, Context(), options | more)
    weights = weighting(a_batch(losses)).weights.numpy()[:, 0]
    average = 0.5 * np.sort(losses)[::-1][round(29 * 0.25)]
    features = np.stack([losses, losses - np.float32(average), 0 * losses, 0 * losses + 60], 1)
    np.testing.assert_allclose(weights, curricula.CURRICULA[name](features, gamma), atol=1e-6)
    assert len(np.unique(weights)) > 1


def test_self_paced_is_the_shipped_curriculum_but_for_its_approximation():
    """Same moving average and dropout; weights within the learned network's error."""
    options = {"example_dropout_rates": "0.5,50,0.1,50"}
    closed: Any = registry.make("self_paced", Context(7), options)
    learned: Any = registry.make("mentornet", Context(7), {"mentor": "self_paced", **options})
    differences = []
    for step in range(20):
        losses = np.random.default_rng(step).exponential(size=64)
        batch = a_batch(losses, epoch_percentage=5 * step, global_step=step)
        ours, theirs = closed(batch), learned(batch)
        assert float(closed.loss_moving_average) == float(learned.loss_moving_average)
        dropped = (ours.weights.numpy() == 0) & (ours.before_dropout.numpy() > 0)
        assert (theirs.weights.numpy()[dropped] == 0).all()
        differences.append(np.abs(ours.before_dropout - theirs.before_dropout))
    assert 0 < np.mean(differences) < 0.05


def test_a_run_under_self_paced_is_that_under_the_shipped_curriculum():
    """No loss of these steps lies just above the average, where the learned weight is between."""
    options = {"example_dropout_rates": "0.2,100"}
    closed = make_trainer("self_paced", **options)
    learned = make_trainer("mentornet", mentor="self_paced", **options)
    for ours, theirs in zip(train(closed), train(learned), strict=True):
        weights, losses = ours.samples.weights.numpy(), ours.samples.losses.numpy()
        above = losses - float(ours.scalars["debug/loss_moving_percentile"])
        assert not ((above > 0) & (above < 0.1)).any()
        assert set(np.unique(weights)) == {0, 1}
        np.testing.assert_allclose(theirs.samples.weights, weights, atol=1e-6)
    ours, theirs = weighting_runs.state(closed), weighting_runs.state(learned)
    for name in ("kernel", "loss_moving_average"):
        np.testing.assert_allclose(theirs[name], ours[name], atol=1e-5)


def test_uniform_is_one():
    weighting = registry.make("uniform", Context(), {})
    assert (np.asarray(weighting(a_batch([0.0, 1.0, 9.0]))) == 1).all()


def test_a_mentornet_as_a_weighting(tmp_path):
    """Its labels, features and state; the second weighting of mixed samples shares the first's."""
    ten = MentorNet(num_labels=10, features=(*RELEASE, *FURTHER))
    options = {"mentor": ten, "loss_p_percentile": 0.5, "example_dropout_rates": "0,100"}
    for label in ("zero", "given"):
        context = Context(num_examples=20, num_classes=10)
        weighting = registry.make("mentornet", context, options | {"label": label})
        assert {"loss_moving_average", *ten.tf1_variables} <= context.state.keys()
        assert context.facts["mentornet_sha256"] == mentornet_fingerprint(ten)
        positions = tf.constant([0, 1], tf.int64)
        batch = a_batch([1.0, 1.0], labels=tf.constant([7, 7], tf.int64), positions=positions)
        weights = np.asarray(weighting(batch).before_dropout)
        past = SampleHistory(20).read(positions)
        further = [float(feature.compute(past)[0]) for feature in FURTHER.values()]
        above = 1 - float(context.state["loss_moving_average"])
        expected = ten.sample_weights(
            tf.constant([[1.0, above, 7.0 * (label == "given"), 60.0, *further]])
        )
        np.testing.assert_allclose(weights, np.tile(expected, (2, 1)), rtol=1e-5)
    two = MentorNet()
    first = registry.make("mentornet", Context(), {"mentor": two})
    second = Context(first=first)
    mixed = registry.make("mentornet", second, {"mentor": "mentornet_pd"})
    assert isinstance(mixed, CurriculumWeighting) and mixed.mentor is two
    assert not second.facts
    save_mentornet(two, str(tmp_path / "two"))
    for mentor in (two, str(tmp_path / "two")):
        given = {"mentor": mentor, "label": "given"}
        for classes in (None, 2):
            context = Context(num_classes=classes)
            registry.make("mentornet", context, given)
            assert context.sample_history is None
        with pytest.raises(InputError, match="'given' needs a MentorNet with 3 labels"):
            registry.make("mentornet", Context(num_classes=3), given)
        registry.make("mentornet", Context(num_classes=3), given | {"label": "zero"})
    unknown = MentorNet(features=(*RELEASE, "weather"))
    with pytest.raises(InputError, match="features must be among .*features=.*weather"):
        registry.make("mentornet", Context(), {"mentor": unknown})


def test_wrong_weightings(capsys):
    for name, options, part in (
        ("gcee", {}, f"`weighting` must be one of {', '.join(WEIGHTINGS.names())}"),
        ("nowhere:factory", {}, "`weighting` nowhere:factory cannot be imported"),
        ("os:system", {}, "`weighting` os:system cannot be called: "),
        ("gce", {"p": 0.7}, "`weighting_options` of gce are: q"),
        ("gce", {"q": 2}, "`q` must lie in 0..1"),
        ("gce", {"q": "0.5;1"}, "`weighting_options`: q must be a number. Received: q='0.5;1'"),
        ("gce", {"q": np.float32(2)}, "`q` must lie in 0..1"),
        ("elr", {"lambda": "x"}, "`weighting_options`: lambda must be a number"),
        ("self_paced", {"loss_moving_average_decay": "x"}, "must be a number. Received: 'x'"),
        ("elr", {"lambda": -1}, "`lambda` must not be negative"),
        ("elr", {}, "`num_classes` must be given"),
        ("mentornet", {}, "do not fit `weighting`: missing a required .*argument: 'mentor'"),
        ("self_paced", {"burn_in_epoch": 101}, "`burn_in_epoch` must lie in"),
    ):
        with pytest.raises(InputError, match=part.replace("(", r"\(")):
            registry.make(name, Context(), options)
    with pytest.raises(InputError, match="`num_examples` must be given"):
        MentoredModel(weighting_runs.linear_student(), weighting="elr")
    model = MentoredModel(weighting_runs.linear_student(), weighting="elr", num_examples=SAMPLES)
    model.compile("sgd", LOGITS)
    with pytest.raises(InputError, match="with this weighting"):
        model.fit(*weighting_runs.data(), verbose=0)
    with pytest.raises(InputError, match="burn_in_epoch: only for a MentorNet"):
        MentoredModel(weighting_runs.linear_student(), weighting="gce", burn_in_epoch=3)
    for shape in ([3], [3, 2], [1, 1], [2, 1]):
        with pytest.raises(InputError, match="one weight per sample"):
            as_weighed(tf.ones(shape), a_batch([1.0, 2.0, 3.0]))
    with pytest.raises(InputError, match="must return a function"):
        nothing: Any = lambda context: None  # noqa: E731
        registry.make(nothing, Context(), {})
    with pytest.raises(InputError, match="`weighting` must be one of"):
        registry.check_name("gcee")
    registry.check_name("gcee:make")
    assert registry.name_of(gce.make) == "mentornet.weighting.methods.gce:make"
    for nameless in (functools.partial(gce.make, q=0.5), lambda context: gce.make(context)):
        with pytest.raises(InputError, match="saved only if its `weighting` is a function"):
            registry.name_of(nameless)
    assert not capsys.readouterr().out
    own: Any = type("Own", (), {"__module__": "__main__"})
    assert registry.name_of(own) == "__main__:Own"
    assert "WARNING: `weighting` Own is defined by this program" in capsys.readouterr().out


def test_variables_have_distinct_names():
    context = Context(num_examples=SAMPLES)
    context.variable("a")
    variable = context.variable("b")
    for again in (
        lambda: context.variable("a"),
        lambda: context.per_sample("a", 2),
        lambda: context.keep({"a": variable}),
    ):
        with pytest.raises(InputError, match="must have distinct names. Received: name='a'"):
            again()
    mixed = context.for_mixed(lambda batch: batch.losses)
    mixed.keep({"a": variable})
    assert list(context.state) == ["a", "b"] and list(mixed.state) == ["mixed_a"]
    trainer = make_trainer("uniform")
    trainer._contexts[0].keep({"num_seen": variable})
    with pytest.raises(InputError, match=r"would be saved under one name: .*names=\['num_seen'\]"):
        trainer.state()


def test_what_a_run_records_about_its_weighting():
    settings = dataclasses.asdict(WeightingConfig()) | {"burn_in_epoch": 3}
    for name, options, expected in (
        ("gce", {}, {"q": 0.7}),
        ("gce", {"q": 0.5}, {"q": 0.5}),
        ("elr", {"lambda": 1}, {"beta": 0.7, "lambda": 1}),
        ("self_paced", {"burn_in_epoch": 3}, settings),
        ("uniform", {}, {}),
    ):
        context = Context(num_examples=SAMPLES, num_classes=CLASSES)
        registry.make(name, context, options)
        assert context.facts["weighting_options"] == expected
    context = Context()
    registry.make("mentornet", context, {"mentor": "mentornet_pd"})
    assert list(context.facts) == ["mentornet_sha256"]

    number = np.int64(1)

    def own(context, data=np.zeros, nested=(number,), power_=2, range_=(0, 1), **more):
        return lambda batch: batch.losses

    registry.make(own, context, {"further": 1})
    expected = {"power_": 2, "range_": (0, 1), "further": 1}
    assert context.facts["weighting_options"] == expected


def test_what_fit_records():
    """Losses, and weights before dropout; nothing is learned at a rate of 0."""
    student = weighting_runs.linear_student()
    model = MentoredModel(
        student, weighting="mentornet", num_examples=SAMPLES, **OPTIONS["history"]
    )
    model.compile(keras.optimizers.SGD(0.0), LOGITS)
    fitted("history", model, epochs=1)
    inputs, labels = weighting_runs.data()
    logits = inputs @ student.get_weights()[0]
    p = tf.nn.softmax(logits).numpy()[np.arange(SAMPLES), labels]
    seen = model._context.sample_history.read(tf.range(SAMPLES))
    np.testing.assert_allclose(seen["mean_loss"], -np.log(p), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seen["mean_given"], p, rtol=1e-4)
    assert seen["mean_weight"].numpy().min() > 0


def test_descriptions_name_the_options():
    settings = tuple(field.name for field in dataclasses.fields(WeightingConfig))
    for name, description in WEIGHTINGS.descriptions().items():
        if name != "mentornet":
            own = tuple(re.findall(r"`(\w+)`", description))
            rule = "the description must name the options in backticks, in order, or say: settings"
            named = own + settings * ("settings" in description)
            assert registry.options_of(name) == named, f"{name}: {rule}"


def test_a_file_without_a_factory(tmp_path, monkeypatch):
    (tmp_path / "own_methods").mkdir()
    (tmp_path / "own_methods" / "bare.py").write_text('"""Nothing."""\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "WEIGHTINGS", Registry("own_methods", "make", "weighting"))
    with pytest.raises(RuntimeError, match="bare.py must define a function make"):
        registry.options_of("bare")


def test_listing_needs_no_tensorflow():
    code = "import sys\nfrom mentornet.weighting import registry\n"
    code += "assert 'elr: Early-learning' in registry.WEIGHTINGS.help()\n"
    code += "assert registry.options_of('elr') == ('beta', 'lambda')\n"
    code += "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
    folder = pathlib.Path(registry.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)


@pytest.mark.parametrize(
    ("script", "flags", "part"),
    [
        ("baseline", ["--weighting=mentornet"], "needs cifar_train_mentornet.py"),
        ("baseline", ["--weighting=gcee"], "`weighting` must be one of"),
        ("baseline", ["--weighting_options=q=1"], "cannot be used with --weighting=uniform"),
        ("baseline", ["--weighting=gce", "--weighting_options=q"], "must be name=value"),
        ("mentornet", ["--weighting=gce", "--burn_in_epoch=3"], "--burn_in_epoch cannot be used"),
        ("mentornet", ["--second_reweight"], "`second_reweight` needs mixup_alpha"),
        ("mentornet", ["--weighting_options=q=1"], "cannot be used with --weighting=mentornet"),
        (
            "baseline",
            ["--mixup_alpha=1", "--second_reweight"],
            "`second_reweight` needs a MentorNet, or another weighting",
        ),
        (
            "mentornet",
            ["--weighting=self_paced", "--loss_p_precentile=0.5"],
            "--loss_p_precentile cannot be used with --weighting=self_paced",
        ),
        (
            "mentornet",
            ["--weighting=self_paced", "--trained_mentornet_dir=mentornet_pd"],
            "--trained_mentornet_dir cannot be used with --weighting=self_paced",
        ),
        (
            "mentornet",
            ["--weighting=self_paced", "--mentornet_label=given"],
            "--mentornet_label cannot be used with --weighting=self_paced",
        ),
        (
            "mentornet",
            ["--weighting=self_paced", "--mentornet_update_epochs=50"],
            "--mentornet_update_epochs cannot be used with --weighting=self_paced",
        ),
    ],
)
def test_flags_that_contradict(script, flags, part, train_flags, tmp_path):
    flags = [*train_flags(train_log_dir=tmp_path / "train"), *flags]
    status, output = run(f"code/cifar_train_{script}.py", *flags)
    assert status == 2, output
    assert part in output and "Traceback" not in output
    assert not (tmp_path / "train").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--weighting=uniform"], None),
        (["--weighting=gce"], NamedWeighting("gce")),
        (["--weighting=elr", "--weighting_options=lambda=1,beta=0.9"], {"lambda": 1, "beta": 0.9}),
        # The script's own default, and a flag that the weighting obeys.
        (
            ["--weighting=self_paced", "--burn_in_epoch=3"],
            {"burn_in_epoch": 3, "example_dropout_rates": "0.0,100"},
        ),
        (
            ["--weighting=self_paced", '--weighting_options="example_dropout_rates=0.5,100"'],
            {"example_dropout_rates": "0.5,100"},
        ),
    ],
)
def test_flags_of_mentormix(flags, expected):
    """The flags of the script whose defaults differ from the release's."""
    code = "import sys, cifar_train_mentormix\nfrom mentornet.cli import training_flags\n"
    code += "cifar_train_mentormix.define_flags()\n"
    code += "training_flags.FLAGS(sys.argv)\n"
    code += "training_flags.FLAGS.second_reweight = False\n"
    code += "print(training_flags.train_config().weighting)\n"
    command = [sys.executable, "-c", code, "--data_dir=d", "--train_log_dir=t", *flags]
    done = subprocess.run(command, cwd=ROOT / "code", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if isinstance(expected, dict):
        expected = NamedWeighting(flags[0].partition("=")[2], expected)
    assert done.stdout.strip() == str(expected)


def test_a_closed_form_sees_loss_difference_and_epoch():
    form = ClosedForm(lambda loss, difference, epoch: 100 * loss + 10 * difference + epoch)
    weights = form.sample_weights(tf.constant([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]))
    assert weights.numpy().tolist() == [[124], [568]]


def test_what_a_weighting_logs():
    """Of four losses the second largest, at place round(3 * 0.3); a quarter is the average."""
    options = {"loss_moving_average_decay": 0.75, "example_dropout_rates": "0.25,100"}
    weighting = registry.make("self_paced", Context(), options)
    scalars = as_weighed(weighting(a_batch([1.0, 2.0, 4.0, 8.0])), a_batch([1.0] * 4)).scalars
    assert {name.removeprefix("debug/"): float(value) for name, value in scalars.items()} == {
        "percentile_loss": 4,
        "dropout_rate": 0.25,
        "epoch_step": 60,
        "loss_moving_percentile": 1,
    }


def test_the_context_of_mixed_samples():
    """It knows the same of the training, and its state is apart."""
    context = Context(5, SAMPLES, CLASSES, last_rise=23)
    assert not context.needs_positions and Context().last_rise == 0
    mixed = context.for_mixed(lambda batch: batch.losses)
    assert (mixed.seed, mixed.num_examples, mixed.num_classes) == (5, SAMPLES, CLASSES)
    assert mixed.last_rise == 23 and not mixed.needs_positions
    rows = mixed.per_sample("rows", 2)
    assert mixed.needs_positions and not context.needs_positions
    rows.write(tf.constant([3, 1]), tf.constant([[1.0, 2.0], [3.0, 4.0]]))
    assert rows.read(tf.constant([1, 0])).numpy().tolist() == [[3, 4], [0, 0]]
    assert rows.values.shape == (SAMPLES, 2) and not rows.values.trainable
    assert not context.variable("n").trainable
    assert context.history() is mixed.history() and context.needs_positions
