"""Features beyond the release's: from a curriculum's function to training under it."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from helpers import MENTORNET, run

from mentornet import InputError, MentorNet, SampleWeighting, load_mentornet, save_mentornet
from mentornet.core.files import read_json_lines
from mentornet.label_noise.history import COLUMNS, VALUES, SampleHistory
from mentornet.learning import curricula
from mentornet.weighting.features import FURTHER, RELEASE, check_further, check_names
from mentornet.weighting.methods import mentornet as methods
from mentornet.weighting.protocol import Batch, Context
from mentornet_learning import visualizer

NAMES = (*RELEASE, "loss_variance")


def test_names_are_stored_with_the_checkpoint(tmp_path):
    mentor = MentorNet(seed=1, features=NAMES)
    save_mentornet(mentor, str(tmp_path / "five"))
    loaded = load_mentornet(str(tmp_path))
    assert loaded.features == NAMES
    rows = tf.constant(np.random.default_rng(0).uniform(0, 2, (6, 5)).astype(np.float32))
    np.testing.assert_array_equal(loaded(rows), mentor(rows))
    assert load_mentornet(MENTORNET).features == RELEASE
    with pytest.raises(InputError, match="`features` must begin with loss"):
        MentorNet(features=("loss_variance", *RELEASE))


def test_a_further_feature_reaches_the_hidden_layer():
    """With equal weights for the four, the logit differs only by tanh of the fifth's row."""
    mentor = MentorNet(features=NAMES)
    for variable in mentor.tf1_variables.values():
        variable.assign(tf.zeros_like(variable.value))
    kernel = np.zeros((10, 20), np.float32)
    kernel[9, 0] = 0.5
    mentor.tf1_variables["mentornet/Variable"].assign(kernel)
    mentor.tf1_variables["mentornet/Variable_2"].assign(np.full((20, 1), 2, np.float32))
    logits = mentor(tf.constant([[1.0, 0.5, 0, 20, 3.0], [2.0, 1.5, 0, 30, -1.0]]))
    np.testing.assert_allclose(logits[:, 0], 2 * np.tanh([1.5, -0.5]), rtol=1e-6)


def test_weighting_wants_every_feature():
    weighting = SampleWeighting(MentorNet(features=NAMES), example_dropout_rates="0,100")
    losses = tf.ones((3, 1))
    with pytest.raises(InputError, match="`further` must give loss_variance"):
        weighting(losses, epoch_percentage=0, global_step=0)
    given = {"loss_variance": tf.constant([0.0, 0.0, 4.0])}
    weights = weighting(losses, epoch_percentage=0, global_step=0, further=given).numpy().ravel()
    assert weights[0] == weights[1] != weights[2]


def test_history_equals_numpy():
    """Plain mean and variance at first, then the newest counts 1/20; others remain 0."""
    generator = np.random.default_rng(0)
    losses = generator.exponential(size=30).astype(np.float32)
    weights = generator.uniform(size=30).astype(np.float32)
    history = SampleHistory(4)
    logits = tf.math.log([[0.2, 0.7, 0.1]])
    means, variances = [], []
    for loss, weight in zip(losses, weights, strict=True):
        history.update(
            tf.constant([2], tf.int64),
            tf.constant([0], tf.int64),
            tf.constant([[loss]]),
            tf.constant([[weight]]),
            logits,
        )
        row = {name: float(value[0]) for name, value in history.read([2]).items()}
        means.append(row["mean_loss"])
        variances.append(row["loss_variance"])
    for n in (1, 2, 7, 20):
        assert means[n - 1] == pytest.approx(losses[:n].mean(), rel=1e-5)
        assert variances[n - 1] == pytest.approx(losses[:n].var(), rel=1e-4, abs=1e-7)
    share = np.full(20, 1 / 20)
    for _ in range(10):
        share = np.append(0.95 * share, 0.05)
    mean = (share * losses).sum()
    assert means[-1] == pytest.approx(mean, rel=1e-5)
    assert variances[-1] == pytest.approx((share * (losses - mean) ** 2).sum(), rel=1e-4)
    assert row["mean_weight"] == pytest.approx((share * weights).sum(), rel=1e-5)
    assert (row["num_seen"], row["prediction"]) == (30, 1)
    assert row["probability"] == pytest.approx(0.7)
    assert not history.values.numpy()[[0, 1, 3]].any()


def test_a_batch_of_several_samples():
    """Each row records its own sample; if one is in the batch twice, the later counts."""
    history = SampleHistory(5)
    assert not any(variable.trainable for variable in history.state().values())
    losses = np.array([[1.0], [2.0], [4.0], [8.0]], np.float32)
    weights = np.array([[0.1], [0.2], [0.4], [0.8]], np.float32)
    logits = np.log(np.array([[0.6, 0.4], [0.3, 0.7], [0.9, 0.1], [0.2, 0.8]], np.float32))
    for _ in range(2):
        history.update(
            tf.constant([3, 0, 3, 1], tf.int64),
            tf.zeros(4, tf.int64),
            tf.constant(losses),
            tf.constant(weights),
            tf.constant(logits),
        )
    rows = {name: value.numpy() for name, value in history.read([0, 1, 2, 3, 4]).items()}
    np.testing.assert_array_equal(rows["num_seen"], [2, 2, 0, 2, 0])
    np.testing.assert_allclose(rows["mean_loss"], [2, 8, 0, 4, 0], rtol=1e-6)
    np.testing.assert_allclose(rows["loss_variance"], 0, atol=1e-6)
    np.testing.assert_allclose(rows["mean_weight"], [0.2, 0.8, 0, 0.4, 0], rtol=1e-6)
    np.testing.assert_array_equal(rows["prediction"], [1, 1, 0, 0, 0])
    np.testing.assert_allclose(rows["probability"], [0.7, 0.8, 0, 0.9, 0], rtol=1e-6)


def reference(logits, labels):
    """The undecayed columns for visits [visits, samples, classes], in NumPy, by name."""
    ours = {name: np.zeros(logits.shape[1]) for name in UNFORGETTING}
    for sample, given in enumerate(labels):
        visits = logits[:, sample].astype(np.float64)
        probabilities = np.exp(visits) / np.exp(visits).sum(axis=1, keepdims=True)
        others = np.delete(visits, given, axis=1)
        names = np.delete(np.arange(visits.shape[1]), given)
        is_wrong = visits.argmax(axis=1) != given
        rows = is_wrong if is_wrong.any() else np.ones(len(visits), bool)
        values = (
            len(visits),
            is_wrong.sum(),
            probabilities[:, given].mean(),
            np.delete(probabilities, given, axis=1).max(axis=1).mean(),
            (visits[:, given] - others.max(axis=1)).mean(),
            names[others[rows][-1].argmax()],
            np.count_nonzero(np.diff(visits.argmax(axis=1))),
        )
        for name, value in zip(UNFORGETTING, values, strict=True):
            ours[name][sample] = value
    return ours


UNFORGETTING = (
    "num_counted",
    "num_wrong",
    "mean_given",
    "mean_other",
    "mean_margin",
    "other_class",
    "num_changed",
)


def visit(history, logits, labels, positions=None, update=None):
    size = len(labels)
    positions = np.arange(size) if positions is None else positions
    one, update = tf.ones([size, 1]), update or history.update
    update(tf.constant(positions), tf.constant(labels), one, one, tf.constant(logits))


@pytest.fixture
def visits():
    """Logits [300 visits, 12 samples, 5 classes] and labels, some learned and some memorised."""
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 5, 12)
    logits = generator.normal(size=(300, 12, 5)).astype(np.float32)
    logits[:, 0, labels[0]] += 9  # Never wrong.
    logits[150:, 1:6, labels[1:6]] += 30
    return logits, labels


def test_history_without_forgetting_equals_numpy(visits):
    """Exact after hundreds of visits, even if the order of samples changes each time."""
    logits, labels = visits
    history = SampleHistory(13)
    order, update = np.random.default_rng(4), tf.function(history.update)
    for number, seen in enumerate(logits, 1):
        at = order.permutation(12)
        visit(history, seen[at], labels[at], at, update)
        if number in (1, 2, 21, 300):
            rows = {name: v.numpy() for name, v in history.read(tf.range(12)).items()}
            expected = reference(logits[:number], labels)
            for name in UNFORGETTING:
                np.testing.assert_allclose(rows[name], expected[name], 2e-5, 1e-6, err_msg=name)
    assert rows["num_wrong"][0] == 0 < rows["num_wrong"][1:].min()
    assert not history.values[12].numpy().any()


def test_history_goes_on_bit_for_bit(visits):
    logits, labels = visits
    whole, first, second = SampleHistory(12), SampleHistory(12), SampleHistory(12)
    for seen in logits[:40]:
        visit(whole, seen, labels)
    for seen in logits[:25]:
        visit(first, seen, labels)
    second.restore({name: variable.numpy() for name, variable in first.state().items()})
    for seen in logits[25:40]:
        visit(second, seen, labels)
    np.testing.assert_array_equal(whole.values, second.values)


def test_a_history_of_a_version_that_forgot(visits):
    """Means cover the visits since then; the other columns continue."""
    logits, labels = visits
    before, after = SampleHistory(12), SampleHistory(12)
    for seen in logits[:10]:
        visit(before, seen, labels)
    saved = {name: variable.numpy() for name, variable in before.state().items()}
    after.restore({VALUES: saved[VALUES][:, :6]})
    for seen in logits[10:17]:
        visit(after, seen, labels)
    rows = {name: v.numpy() for name, v in after.read(tf.range(12)).items()}
    assert set(rows["num_seen"]) == {17}
    for name, expected in reference(logits[10:17], labels).items():
        np.testing.assert_allclose(rows[name], expected, 2e-5, 1e-6, err_msg=name)


def test_decayed_means_of_an_earlier_version_go_on():
    """The next of ten visits counts a tenth, though no visit is counted without decay yet."""
    history = SampleHistory(1)
    history.restore({VALUES: np.array([[9, 1.0, 0, 0.5, 0, 0.9]], np.float32)})
    one, first = tf.ones([1, 1]), tf.constant([0], tf.int64)
    history.update(first, first, 3 * one, one, tf.constant([[1.0, 0.0]]))
    row = {name: float(value[0]) for name, value in history.read(first).items()}
    found = row["mean_loss"], row["mean_weight"], row["loss_variance"]
    np.testing.assert_allclose(found, (1.2, 0.55, 0.9 * 0.1 * 4), rtol=1e-5)


@pytest.mark.parametrize(
    ("logits", "other", "margin", "odds"),
    [([200.0, 0.0, 199.0], 2, 1, 1), ([0.0, -300.0, -200.0], 2, 200, 200)],
)
def test_a_visit_with_large_logits(logits, other, margin, odds):
    history = SampleHistory(1)
    visit(history, np.array([logits], np.float32), np.array([0]))
    row = {name: float(value[0]) for name, value in history.read(tf.constant([0])).items()}
    given = 1 / (1 + np.exp(-odds))
    expected = {"other_class": other, "mean_margin": margin, "mean_given": given}
    expected |= {"mean_other": 1 - given, "probability": given}
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-5, abs=1e-12), name


def test_features_of_the_history_by_hand():
    """The shipped MentorNet is for these; 3 wrong events of 10 visits are 4 / 12 by Laplace."""
    past = dict.fromkeys(COLUMNS, np.zeros(2))
    past |= {"num_counted": np.array([10.0, 0]), "num_wrong": np.array([3.0, 0])}
    past |= {"mean_given": np.array([0.5, 0]), "mean_other": np.array([0.2, 0])}
    past |= {"mean_loss": np.array([1.5, 0])}
    names = load_mentornet("mentornet_dd_history").further_features
    assert names == ("mean_loss", "wrong_share", "probability_margin")
    for name, expected in zip(names, ((1.5, 0), (1 / 3, 0.5), (0.3, 0)), strict=True):
        np.testing.assert_allclose(FURTHER[name].compute(past), expected, err_msg=name)


def test_training_computes_what_the_mentornet_sees():
    """Each sample's own history before the step."""
    context = Context(num_examples=5)
    settings: dict[str, Any] = {"example_dropout_rates": "0,100", "loss_p_percentile": 0.0}
    mentor = load_mentornet("mentornet_dd_history")
    weigh = methods.make(context, mentor=mentor, **settings)
    values = np.random.default_rng(0).uniform(0, 1, (5, len(COLUMNS))).astype(np.float32)
    context.history().values.assign(values)
    positions, losses = np.array([3, 1]), np.array([[0.4], [2.0]], np.float32)
    weights = weigh(Batch(tf.constant(losses), 30, 7, positions=tf.constant(positions))).weights
    past = dict(zip(COLUMNS, values[positions].T, strict=True))
    further = (
        past["mean_loss"],
        (past["num_wrong"] + 1) / (past["num_counted"] + 2),
        past["mean_given"] - past["mean_other"],
    )
    # The moving average is half of the smallest loss.
    rows = np.stack([losses[:, 0], losses[:, 0] - 0.2, [0, 0], [30, 30], *further], axis=1)
    expected = mentor.sample_weights(tf.constant(rows, tf.float32))
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    assert not np.allclose(weights[0], weights[1])


def test_the_shipped_one_trusts_a_memorised_label_less():
    """At the same small loss: one that was never contradicted, and one that was at half."""
    mentor = load_mentornet("mentornet_dd_history")
    steady = [0.05, -0.1, 0, 18, 0.1, 0.1, 0.8]
    memorised = [0.05, -0.1, 0, 18, 0.8, 0.6, 0.1]
    weights = mentor.sample_weights(tf.constant([steady, memorised])).numpy().ravel()
    assert weights[0] > 0.8 and weights[1] < weights[0] - 0.3


def test_active_bias_target():
    features = np.zeros((4, 5))
    features[:, 4] = (0, 0.25, 1, 9)
    np.testing.assert_allclose(curricula.active_bias(features), (0.5, 0.75, 1, 1))
    np.testing.assert_allclose(curricula.active_bias(features, 2), (0.5, 0.625, 0.75, 1))


def test_a_curriculum_with_an_unknown_feature(tmp_path, monkeypatch):
    text = "def f(features, gamma):\n    return features[:, 4]\nf.features = {}\n"
    names = (*RELEASE, "weather")
    (tmp_path / "weather_curriculum.py").write_text(text.format(names))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="loss_variance, .* Received: unknown=.'weather'"):
        curricula.feature_names("weather_curriculum:f")


@pytest.mark.slow
def test_from_function_to_training(tmp_path, train_flags):
    """Data, learning, a picture, training; a run killed in between ends like an undisturbed one."""
    model = tmp_path / "model"
    for script, *flags in (
        ("data_generator.py", "--vstar_fn=active_bias", f"--outdir={tmp_path}"),
        ("train.py", f"--data_path={tmp_path}", f"--train_dir={model}"),
        ("visualizer.py", f"--model_dir={model}", "--further_features=1", "--epoch_ranges=5"),
    ):
        status, output = run(f"mentornet_learning/{script}", *flags)
        assert status == 0, output
    mentor = load_mentornet(str(model))
    for variance, weight in ((0.0, 0.5), (0.3, 0.774), (4.0, 1.0)):
        drawn = visualizer.learned_weights(mentor, 50, 5.0, [variance])
        assert np.abs(drawn - weight).max() < 0.06
    states = []
    for name, stops in (("whole", (None,)), ("halves", (13, None))):
        for stop in stops:
            flags = train_flags(
                train_log_dir=tmp_path / name,
                studentnet="mlp",
                trained_mentornet_dir=model,
                example_dropout_rates="0,100",
                **({"stop_after_step": stop} if stop else {}),
            )
            status, output = run("code/cifar_train_mentornet.py", *flags)
            assert status == 0, output
        reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path / name)))
        keys = sorted(reader.get_variable_to_shape_map())
        states.append([reader.get_tensor(k) for k in keys if k.startswith(("student", "state"))])
        history = reader.get_tensor("state/sample_history/.ATTRIBUTES/VARIABLE_VALUE")
    for a, b in zip(*states, strict=True):
        np.testing.assert_array_equal(a, b)
    # Steps x batch, except for a sample that is in a batch twice where two epochs meet.
    assert 40 * 16 - 3 < history[:, 0].sum() <= 40 * 16
    assert set(history[:, 0]) == {3, 4}  # 200 samples.
    rows = read_json_lines(tmp_path / "whole" / "metrics.jsonl")
    assert 0.5 < rows[-1]["data_util/batch_sum_v"] / 16 < 1


def test_pictures_want_a_value_for_each_feature():
    assert visualizer.further_values(NAMES[4:], ()) == (0.0,)
    assert visualizer.further_values(NAMES[4:], (1.5,)) == (1.5,)
    with pytest.raises(InputError, match="one number for each of: loss_variance"):
        visualizer.further_values(NAMES[4:], (1.0, 2.0))


def test_the_label_that_a_mentornet_sees_is_one_of_two():
    with pytest.raises(InputError, match="`label` must be zero or given. Received: label='Given'"):
        methods.make(Context(), mentor=MENTORNET, label="Given")


def test_the_variance_that_a_mentornet_sees_is_the_history_s():
    past = {name: np.full(2, 3.0 + place) for place, name in enumerate(COLUMNS)}
    past["loss_variance"] = np.array([0.25, 4.0])
    assert FURTHER["loss_variance"].compute(past).tolist() == [0.25, 4]


def test_a_feature_is_named_once():
    for names in ((*NAMES, "loss_variance"), (*RELEASE, "loss")):
        with pytest.raises(InputError, match="without duplicates. Received: features=.'loss'"):
            check_names(names)
    assert check_names(NAMES) == check_names(list(NAMES)) == NAMES
    check_further("f", [*FURTHER])
    with pytest.raises(InputError, match="`f` must be among .*, without duplicates. Received"):
        check_further("f", ("mean_loss", "mean_loss"))
