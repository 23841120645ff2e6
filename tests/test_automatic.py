"""Percentile and burn-in determined from the data."""

from typing import Any

import helpers
import numpy as np
import pytest
import tensorflow as tf
import weighting_runs

from mentornet import InputError, SampleWeighting
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import NamedWeighting, WeightingConfig
from mentornet.label_noise import noise_rate, ranking
from mentornet.label_noise.history import COLUMNS
from mentornet.runs.checkpoints import RunCheckpoint
from mentornet.training import loop
from mentornet.training.build import make_trainer
from mentornet.weighting import decisions
from mentornet.weighting.automatic import Automatic, State, num_classes
from mentornet.weighting.protocol import Batch, Context
from mentornet.weighting.registry import make

AUTO: dict[str, Any] = {"loss_p_percentile": "auto", "burn_in_epoch": "auto"}
BALANCED = AUTO | {"class_balanced": True, "example_dropout_rates": "0,100"}
SAMPLES = 400
LOWERED = 0.654  # 0.7 less the standard deviation of that share in a batch of 100, 0.0458.


def history_values(wrong, memorised, changed=0.0, seed=0):
    """A history in which a share of the samples was contradicted, and some then memorised.

    `changed` is the mean number of changes of a sample's prediction since the start.
    """
    generator = np.random.default_rng(seed)
    is_wrong = np.arange(SAMPLES) < wrong * SAMPLES
    is_fitted = is_wrong & (np.arange(SAMPLES) < memorised * wrong * SAMPLES)
    columns = dict.fromkeys(COLUMNS, np.zeros(SAMPLES))
    columns |= {
        "num_counted": np.full(SAMPLES, 10.0),
        "num_wrong": np.where(is_wrong, 9.0, 1.0),
        "mean_margin": np.where(is_wrong, -2.0, 2.0) + generator.normal(0, 0.5, SAMPLES),
        "other_class": np.full(SAMPLES, 3.0),
        "prediction": np.where(is_wrong & ~is_fitted, 3.0, 1.0),
        "num_changed": (np.arange(SAMPLES) + round(changed * SAMPLES)) // SAMPLES,
    }
    return np.stack([columns[name] for name in COLUMNS], axis=1).astype(np.float32)


def made(**settings):
    context = Context(num_examples=SAMPLES)  # Classes are not known.
    automatic = Automatic(context, WeightingConfig(**settings))
    return automatic, context


def found(context):
    """What has been found so far, as numbers."""
    return State(*(context.state[f"automatic_{name}"].numpy() for name in State._fields))


def arrive(context, step):
    """As if so many steps of 100 samples were done."""
    context.state["automatic_samples_passes"].assign(
        [100 * step, max(0, 100 * (step - 1) // SAMPLES)]
    )


def look(automatic, context, passes, epoch, step_in_pass=0):
    """Before a step of 100 samples; so many of the pass are done."""
    arrive(context, passes * SAMPLES // 100 + step_in_pass)
    automatic.update(tf.constant(epoch), tf.constant(100))


# Of 10 further visits a sample each: 8, 4, 2, 3 and 4 % changed the prediction. Their means of two
# are 6, 3, 2.5 and 3.5: the minimum is over with the last one.
CHANGES = (0.0, 0.8, 1.2, 1.4, 1.7, 2.1)


def pass_over(automatic, context, number, epoch, wrong=0.3, memorised=0.3, changed=CHANGES):
    """The end of a pass over the data, the first one being number 1."""
    values = history_values(wrong, memorised, changed[number - 1])
    values[:, list(COLUMNS).index("num_counted")] = 10 * number
    values[:, list(COLUMNS).index("num_wrong")] *= number
    context.history().values.assign(values)
    look(automatic, context, number, epoch)


def memorise(automatic, context, first_epoch=1, **shares):
    """Passes until memorising has begun; the last ends five percent after the first."""
    for number in range(1, 7):
        pass_over(automatic, context, number, first_epoch + number - 1, **shares)


def test_the_burn_in_ends_when_the_changes_have_passed_their_minimum():
    automatic, context = made(**AUTO)
    for number, epoch in enumerate((5, 11, 17, 23, 29), start=1):
        pass_over(automatic, context, number, epoch)
        assert automatic.rules(tf.constant(epoch)).is_burn_in
        memorised = 0 if number == 1 else 0.3
        np.testing.assert_allclose(found(context)[:4], [0, 0, memorised, 0], atol=0.01)
    remark = context.remarks[0]()
    assert "as no memorisation was detected; " in remark
    assert remark.endswith("; at the last check 30.0% of the contradicted labels were predicted.")
    pass_over(automatic, context, 6, 35)
    rules = automatic.rules(tf.constant(35))
    assert not rules.is_burn_in
    assert rules.percentile.numpy() == pytest.approx(LOWERED, abs=0.02)
    assert rules.memorised.numpy() == pytest.approx(0.3, abs=0.01)
    assert rules.fixed_epoch == 35
    assert automatic.rules(tf.constant(90)).fixed_epoch == 35
    assert "weighted from 35 % of the training on, with percentile 0." in context.remarks[0]()


def test_passes_before_the_last_rise_of_the_learning_rate_do_not_count():
    for last_rise, starts in ((5, False), (3, False), (2, True), (1, True)):
        context = Context(num_examples=SAMPLES, last_rise=last_rise)
        automatic = Automatic(context, WeightingConfig(**AUTO))
        assert context.for_mixed(lambda batch: batch.losses).last_rise == last_rise
        memorise(automatic, context)
        assert automatic.rules(tf.constant(7)).is_burn_in != starts


@pytest.mark.parametrize(
    ("last_rise", "passes", "after"),
    [(0, 4, ""), (25, 6, " after the learning rate has last risen")],
)
def test_too_few_passes_are_told(last_rise, passes, after):
    """Of the six passes in the second case, two end before the last rise."""
    context = Context(num_examples=SAMPLES, last_rise=last_rise)
    automatic = Automatic(context, WeightingConfig(**AUTO))
    for number in range(1, passes + 1):
        pass_over(automatic, context, number, 10 * number)
    too_few = f"as detecting memorisation takes more than 5 passes over the data{after}."
    assert too_few in context.remarks[0]()
    values = np.where(np.arange(SAMPLES)[:, None] == 3, np.nan, history_values(0.3, 0.1))
    context.history().values.assign(values)
    assert "as a loss was not finite." in context.remarks[0]()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_history_that_is_not_finite_is_not_looked_at(value):
    """The loop says which loss it was, at the next log or checkpoint."""
    automatic, context = made(**AUTO)
    memorise(automatic, context)
    before = found(context)
    values = history_values(0.6, 0.2, 4)
    values[3, list(COLUMNS).index("mean_margin")] = value
    context.history().values.assign(values)
    look(automatic, context, 7, 7)
    np.testing.assert_equal(found(context), before)
    assert min(before[:3]) > 0
    assert "weighted from" in context.remarks[0]()


def test_nothing_is_left_out_where_no_label_is_contradicted():
    for percentile in ("auto", 0.7):
        automatic, context = made(**AUTO | {"loss_p_percentile": percentile})
        memorise(automatic, context, wrong=0.0)
        assert automatic.rules(tf.constant(99)).is_burn_in
        assert "as no label was contradicted at most visits." in context.remarks[0]()


def test_changes_that_only_fall_end_no_burn_in_whatever_is_predicted():
    automatic, context = made(**AUTO)
    falling = np.cumsum(0.8 ** np.arange(12))
    for number in range(1, 13):
        pass_over(automatic, context, number, 4 * number, memorised=0.5, changed=falling)
    assert automatic.rules(tf.constant(99)).is_burn_in
    assert found(context).memorised == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("passes", "lost", "percentile", "end"),
    [
        (20, 0.25, "auto", 51),
        (9, 0.25, "auto", 0),
        (20, 0.251, "auto", 0),
        (10, 0.251, "auto", 0),
        (20, 0.25, 0.9, 51),
        (20, 0.251, 0.9, 0),
    ],
)
def test_a_long_training_that_memorises_nothing_is_weighted_in_its_second_half(
    passes, lost, percentile, end, monkeypatch
):
    shares: list[float] = []

    def right_left_out(_, share):
        shares.append(share)
        return lost

    monkeypatch.setattr(ranking.Visits, "right_left_out", right_left_out)
    automatic, context = made(**AUTO | {"loss_p_percentile": percentile})
    falling = np.cumsum(0.8 ** np.arange(passes))
    for number in range(1, passes + 1):
        epoch = round(100 * number / passes) - (number == passes)
        pass_over(automatic, context, number, epoch, changed=falling)
        assert automatic.rules(tf.constant(epoch)).is_burn_in == (not end or epoch < 50)
    assert found(context).burn_in_end == end
    remark = context.remarks[0]()
    if passes > 9:  # The samples that the percentile leaves out.
        assert shares[0] == pytest.approx(1 - LOWERED if percentile == "auto" else 0.1, abs=0.001)
        assert ("correct labels would be left out" in remark) == (not end)
    if end:
        assert "weighted from 50 % of the training on" in remark
        share = LOWERED if percentile == "auto" else 0.9
        rules = automatic.rules(tf.constant(60))
        assert rules.percentile.numpy() == pytest.approx(share, abs=0.001)


def test_it_checks_as_a_pass_ends_and_once_in_a_percent():
    automatic, context = made(**AUTO)
    checks = context.state["automatic_changed_visits"]
    context.history().values.assign(history_values(0.3, 0.5, 2))
    for passes, inside in ((0, 0), (1, 1), (2, 3)):
        look(automatic, context, passes, 20, inside)
        assert (checks.numpy() == 0).all()
    for number, epoch in ((1, 20), (2, 20), (3, 21)):
        pass_over(automatic, context, number, epoch)
    expected = np.zeros((100, 2))
    expected[20], expected[21] = (0, 10 * SAMPLES), (1.2 * SAMPLES, 30 * SAMPLES)
    np.testing.assert_array_equal(checks.numpy(), expected)


@pytest.mark.parametrize("sizes", [[100] * 4, [150, 150, 100], [300, 100], [90, 90, 90, 90, 40]])
def test_it_checks_where_batches_differ_in_size(sizes):
    """As the last one of each epoch of fit() does; three passes, of which each ends once."""
    automatic, context = made(**AUTO)
    checks, epoch = context.state["automatic_changed_visits"], 0
    for number in range(1, 4):
        for size in sizes:
            automatic.update(tf.constant(epoch), tf.constant(size))
            epoch += 1
            num_checks = np.count_nonzero(checks.numpy()[:, 1])
            assert num_checks == max(0, number - 1)
        values = history_values(0.3, 0.5, number)
        values[:, list(COLUMNS).index("num_counted")] = 10 * number
        context.history().values.assign(values)


def test_the_percentile_stays_once_wrong_labels_are_found(monkeypatch):
    automatic, context = made(**AUTO)
    with monkeypatch.context() as patched:
        nothing = property(lambda visits: (np.zeros(len(visits.count)), []))
        patched.setattr(ranking.Visits, "wrong_probabilities", nothing)
        memorise(automatic, context)
    assert found(context)[:2] == (1, 7)  # It begins at 6 %, and there is none.
    context.history().values.assign(history_values(0.3, 0.5, 3))
    look(automatic, context, 7, 7)
    assert found(context).percentile == pytest.approx(LOWERED, abs=0.02)
    context.history().values.assign(history_values(0.6, 0.2, 4))
    look(automatic, context, 8, 8)
    assert found(context).percentile == pytest.approx(LOWERED, abs=0.02)
    assert found(context).burn_in_end == 7  # It began once.
    assert found(context).memorised == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(("said", "right"), [(0.6, 0.7), (0.2, 0.8)])
def test_no_more_than_the_contradicted_are_taken_for_wrong(said, right, monkeypatch):
    """Whatever the mixtures say, of all samples and of each class; 30 % are contradicted."""
    probabilities = property(lambda visits: (np.full(SAMPLES, said), []))
    monkeypatch.setattr(ranking.Visits, "wrong_probabilities", probabilities)
    for settings in (AUTO, BALANCED):
        context = Context(num_examples=SAMPLES, num_classes=2)
        automatic = Automatic(context, WeightingConfig(**settings))
        memorise(automatic, context, wrong=0.3)
        shares = np.append(found(context).percentile, found(context).by_class)
        assert len(shares) == 3
        expected = right - (right * (1 - right)) ** 0.5 / 10
        np.testing.assert_allclose(shares, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("num_kept", "needs_own"), [([188, 74], True), ([184, 78], False), ([78, 184], False)]
)
def test_a_class_has_its_percentile_where_the_common_one_leaves_it_out(
    num_kept, needs_own, monkeypatch
):
    """70 % of the labels are right, and 55 % of these 140 of 200 are 77."""
    probabilities = property(lambda visits: (np.full(SAMPLES, 0.3), []))
    monkeypatch.setattr(ranking.Visits, "wrong_probabilities", probabilities)
    labels, place = np.arange(SAMPLES) % 2, np.arange(SAMPLES) // 2
    columns = dict(zip(COLUMNS, history_values(0.3, 0.3).astype(np.float64).T, strict=True))
    columns["mean_given"] = np.where(place < np.array(num_kept)[labels], 0.9, 0.1)
    visits = ranking.pooled([columns], labels)
    common, by_class, found = decisions.percentiles(visits, 100, 2)
    assert common == pytest.approx(LOWERED, abs=1e-3) and found == needs_own
    np.testing.assert_allclose(by_class, common)
    unknown = decisions.percentiles(ranking.pooled([columns]), 100, 0)
    assert (unknown[0], unknown[1].size, unknown[2]) == (common, 0, False)
    small = np.arange(SAMPLES) % 80  # Of five samples each, some of which are left out by chance.
    columns["mean_given"] = np.random.default_rng(0).random(SAMPLES)
    visits = ranking.pooled([columns], small)
    least = noise_rate.class_means(visits.given >= 1 - LOWERED, small, 80).min()
    assert least < 0.5 * 0.7 and not decisions.percentiles(visits, 100, 80)[2]


@pytest.mark.parametrize(("memorised", "begins"), [(0.14, False), (0.16, True)])
def test_the_burn_in_ends_where_contradicted_labels_are_memorised(memorised, begins):
    """However the changes rise: with crops and flips they do by chance."""
    automatic, context = made(**AUTO)
    memorise(automatic, context, wrong=0.5, memorised=memorised)
    assert automatic.rules(tf.constant(7)).is_burn_in != begins


@pytest.mark.parametrize(
    ("contradicted", "learned", "begins"),
    [(40, 13, True), (40, 14, False), (120, 65, True), (120, 66, False)],
)
@pytest.mark.parametrize("is_late", [False, True])
def test_contradicted_labels_that_are_learned_are_hard_not_wrong(
    contradicted, learned, begins, is_late, monkeypatch
):
    """10 and 30 % of 400 labels are contradicted; the bounds are 35 and 55 % predicted."""
    monkeypatch.setattr(ranking.Visits, "right_left_out", lambda *_: 0.0)
    automatic, context = made(**AUTO)
    passes = 20 if is_late else 6
    falling = np.cumsum(0.8 ** np.arange(passes))
    for number in range(1, passes + 1):
        shares = {"wrong": contradicted / SAMPLES, "memorised": (learned - 0.5) / contradicted}
        changed = falling if is_late else CHANGES
        pass_over(automatic, context, number, 4 * number, changed=changed, **shares)
    assert automatic.rules(tf.constant(99)).is_burn_in != begins
    assert ("labels are being learned, and may be right but hard" in context.remarks[0]()) != begins


@pytest.mark.parametrize(("learned", "loses"), [(0.2, False), (0.15, True)])
def test_a_class_that_is_lost_later_gets_its_percentile(learned, loses, monkeypatch):
    """Of 70 % that are right, less than a quarter; from then on, even if it is learned.

    A quarter of the samples, all of class 0, was not visited: these do not count as learned.
    """
    context = Context(num_examples=SAMPLES, num_classes=2)
    automatic = Automatic(context, WeightingConfig(**AUTO))
    unseen = np.arange(SAMPLES) >= 300
    labels = np.where(unseen, 0, np.arange(SAMPLES) % 2)
    automatic.remember_labels(tf.range(SAMPLES), tf.constant(labels))
    shares = 0.65, np.array([0.7, 0.7]), False
    monkeypatch.setattr(decisions, "percentiles", lambda *_: shares)
    memorise(automatic, context)
    for number, share, expected in ((7, 0.7, False), (8, learned, loses), (9, 0.7, loses)):
        values = history_values(0.3, 0.3, 2.1)
        is_learned = np.arange(SAMPLES) < 300 * np.where(labels == 0, share, 0.7)
        values[:, list(COLUMNS).index("prediction")] = np.where(is_learned, labels, 1 - labels)
        values[:, list(COLUMNS).index("other_class")] = 1 - labels
        values[unseen] = 0
        context.history().values.assign(values)
        look(automatic, context, number, number)
        assert bool(automatic.rules(tf.constant(50)).is_by_class) == expected
    assert found(context).percentile == np.float32(0.65)


def test_a_class_that_needs_it_gets_its_percentile(monkeypatch):
    for needs_own in (False, True):
        found = 0.5, np.array([0.25, 0.75]), needs_own
        monkeypatch.setattr(decisions, "percentiles", lambda *_, found=found: found)
        for settings in (AUTO, BALANCED):
            context = Context(num_examples=SAMPLES, num_classes=2)
            automatic = Automatic(context, WeightingConfig(**settings))
            memorise(automatic, context)
            rules = automatic.rules(tf.constant(50))
            assert bool(rules.is_by_class) == (needs_own or settings is BALANCED)
            assert rules.percentile == 0.5 and rules.by_class.numpy().tolist() == [0.25, 0.75]


def test_one_of_the_two():
    automatic, context = made(loss_p_percentile="auto", burn_in_epoch=30)
    assert automatic.rules(tf.constant(50)).is_burn_in  # No estimate yet.
    remark = context.remarks[0]()
    assert "as an estimate takes more than 2 passes over the data." in remark
    assert "memoris" not in remark
    for passes, epoch, wrong in ((1, 5, 0.5), (2, 10, 0.5), (3, 28, 0.3), (4, 29, 0.6)):
        context.history().values.assign(history_values(wrong, 0.0))
        look(automatic, context, passes, epoch)
        expected = {5: 0, 10: 0.45}.get(epoch, LOWERED)  # Of the last pass in the burn-in.
        assert found(context).percentile == pytest.approx(expected, abs=0.02), epoch
    for epoch, is_burn_in in ((28, True), (29, False)):  # The release's burn-in, one epoch early.
        assert bool(automatic.rules(tf.constant(epoch)).is_burn_in) == is_burn_in
    assert automatic.rules(tf.constant(50)).fixed_epoch == 30
    assert "weighted from 29 % of the training on, with percentile" in context.remarks[0]()
    # A burn-in that is over before the first look at the data.
    automatic, context = made(loss_p_percentile="auto", burn_in_epoch=3)
    context.history().values.assign(history_values(0.3, 0.0))
    look(automatic, context, 2, 40)
    assert automatic.rules(tf.constant(41)).fixed_epoch == 3
    assert "weighted from 40 % of the training on" in context.remarks[0]()
    automatic, context = made(loss_p_percentile=0.55, burn_in_epoch="auto")
    assert automatic.rules(tf.constant(10)).is_burn_in
    memorise(automatic, context)
    rules = automatic.rules(tf.constant(10))
    assert not rules.is_burn_in and rules.percentile == np.float32(0.55)
    assert "weighted from 6 % of the training on; at the last check" in context.remarks[0]()
    context.history().values.assign(history_values(0.0, 0.0))
    assert context.remarks[0]().endswith(
        "weighted from 6 % of the training on; no label was contradicted at most visits."
    )


def test_a_percentile_is_never_what_stands_for_none():
    for share in (0.0, 0.01, 0.1):
        assert decisions._lowered(share, 4) > 0


def test_a_second_weighting_reads_the_same_history():
    context = Context(num_examples=SAMPLES, num_classes=4)
    mixed = context.for_mixed(make("self_paced", context, AUTO))
    assert mixed.history() is context.history() and mixed.needs_positions
    assert not mixed.state


def test_weights_are_one_and_nothing_is_dropped_until_then(monkeypatch):
    monkeypatch.setattr(decisions, "may_begin", lambda checks, *_: checks[:, 0].any())
    context = Context(num_examples=SAMPLES, num_classes=4)
    weighting = make("self_paced", context, AUTO | {"example_dropout_rates": "0.5,100"})
    losses = np.random.default_rng(0).exponential(size=(100, 1)).astype(np.float32)

    def weigh(step):
        arrive(context, step)
        classes, positions = tf.zeros([100], tf.int64), tf.range(100)
        return weighting(
            Batch(tf.constant(losses), 5 * step, step, labels=classes, positions=positions)
        )

    weighed = weigh(8)
    assert (weighed.weights.numpy() == 1).all()
    assert weighed.scalars["automatic/burn_in"] == 1
    assert weighed.scalars["automatic/by_class"] == 0
    context.history().values.assign(history_values(0.3, 0.5, 1))
    weighed = weigh(12)
    assert weighed.scalars["automatic/burn_in"] == 0
    share = weighed.scalars["automatic/loss_p_percentile"].numpy()
    assert share == pytest.approx(LOWERED, abs=0.001)
    assert weighed.scalars["automatic/memorised"].numpy() == pytest.approx(0.5, abs=0.01)
    average = weighed.scalars["debug/loss_moving_percentile"].numpy()
    kept = losses[:, 0] <= average
    np.testing.assert_array_equal(weighed.before_dropout.numpy()[:, 0], kept)
    assert 0 < kept.sum() < 100
    assert np.count_nonzero(weighed.weights.numpy()) < kept.sum()  # Half of the batch is dropped.


def test_the_moving_average_begins_with_the_weighting(monkeypatch):
    """It is the weighted mean of the percentiles since, whatever the losses were in the burn-in."""
    monkeypatch.setattr(decisions, "may_begin", lambda checks, *_: checks[:, 0].any())
    context = Context(num_examples=SAMPLES, num_classes=4)
    weighting = make("self_paced", context, AUTO | {"loss_moving_average_decay": 0.9})
    generator, found = np.random.default_rng(0), []

    def weigh(step):
        losses = generator.exponential(size=(100, 1)).astype(np.float32)
        arrive(context, step)
        classes, positions = tf.zeros([100], tf.int64), tf.range(100)
        weighed = weighting(
            Batch(tf.constant(losses), 5 * step, step, labels=classes, positions=positions)
        )
        return np.sort(losses[:, 0])[::-1], weighed.scalars["debug/loss_moving_percentile"].numpy()

    for step in (4, 8):
        weigh(step)
    context.history().values.assign(history_values(0.3, 0.5, 1))
    for step in (12, 13, 14):
        losses, average = weigh(step)
        found.append(losses[round(99 * (1 - LOWERED))])
        weights = 0.9 ** np.arange(len(found))[::-1]
        assert average == pytest.approx(np.average(found, weights=weights), rel=1e-3)


@pytest.mark.parametrize("value", ["automatic", "", "0.5"])
def test_other_words(value):
    with pytest.raises(InputError, match="`loss_p_percentile` must be a number or auto"):
        WeightingConfig(loss_p_percentile=value)


def test_what_it_does_not_go_with():
    with pytest.raises(InputError, match="needs a training that keeps a history"):
        SampleWeighting(None, loss_p_percentile="auto")
    with pytest.raises(InputError, match="`num_examples` must be given"):
        make("self_paced", Context(), AUTO)
    for weighting in (WeightingConfig(**AUTO), NamedWeighting("self_paced", AUTO)):
        with pytest.raises(InputError, match="`jit_compile` needs a fixed"):
            TrainConfig(
                "data",
                "run",
                trained_mentornet_dir="mentornet_pd",
                weighting=weighting,
                jit_compile=True,
                deterministic=False,
            )


def test_shares_of_the_classes_are_shrunk_as_far_as_their_samples_are_few():
    """Worked by hand; where the noise is even, all have the same."""
    labels = np.repeat([0, 1], 100)
    wrong = np.concatenate([np.repeat([1.0, 0.0], [60, 40]), np.repeat([1.0, 0.0], [20, 80])])
    # 0.24 is the variance of a label about 0.4; 8 - 0.24 over 100 that between the classes: 0.0776;
    # 7.76 / (7.76 + 0.24) of the distance from 0.4 is kept.
    found = noise_rate.shrunk_class_means(wrong, labels, 2)
    np.testing.assert_allclose(found, [0.594, 0.206], rtol=1e-9)
    generator = np.random.default_rng(0)
    labels = np.concatenate([np.repeat(np.arange(10), 130), [10, 10]])  # No sample of class 11.
    rates = np.where(labels == 3, 0.6, 0.1)
    wrong = (generator.random(len(labels)) < rates).astype(np.float64)
    wrong[labels == 10] = 1
    found = noise_rate.shrunk_class_means(wrong, labels, 12)
    assert found[3] == pytest.approx(0.6, abs=0.09)
    assert found[[0, 1, 2, 4, 5, 6, 7, 8, 9]] == pytest.approx([0.1] * 9, abs=0.06)
    assert found[10] < 0.5 and found[11] == pytest.approx(wrong.mean())
    even = np.tile(np.repeat([1.0, 0.0], [13, 117]), 10)
    found = noise_rate.shrunk_class_means(even, np.repeat(np.arange(10), 130), 10)
    np.testing.assert_allclose(found, 0.1)


def test_each_class_has_its_percentile_and_its_moving_average(monkeypatch):
    """Wrong labels are all of class 1; the weights equal NumPy's over three batches."""
    monkeypatch.setattr(decisions, "may_begin", lambda *_: True)
    context = Context(num_examples=SAMPLES, num_classes=3)
    weighting = make("self_paced", context, BALANCED)
    labels = np.arange(SAMPLES) % 2
    labels[:120] = 1  # Those that `history_values` makes wrong: 120 of 260 of class 1.
    generator = np.random.default_rng(1)
    sums, weights = np.zeros(4), np.zeros(4)  # Of three classes, and of all.

    def weigh(step, chosen):
        losses = generator.exponential(size=(len(chosen), 1)).astype(np.float32)
        arrive(context, step)
        given, positions = tf.constant(labels[chosen]), tf.constant(chosen)
        batch = Batch(tf.constant(losses), 40, step, labels=given, positions=positions)
        return losses[:, 0], weighting(batch)

    for step in range(4):  # All samples are seen once.
        _, weighed = weigh(step, np.arange(100 * step, 100 * step + 100))
        assert (weighed.weights.numpy() == 1).all()
    context.history().values.assign(history_values(0.3, 0.5))
    for step in (8, 9, 10):
        chosen = generator.permutation(SAMPLES)[:100]
        losses, weighed = weigh(step, chosen)
        scalars = {name: float(value) for name, value in weighed.scalars.items()}
        shares = [scalars[f"automatic/loss_p_percentile/{c}"] for c in range(3)]
        assert shares == pytest.approx([1.0, 0.489, LOWERED], abs=0.02)  # 140 of 260.
        assert scalars["automatic/loss_p_percentile"] == pytest.approx(LOWERED, abs=0.02)
        average = np.zeros(4)
        shares.append(scalars["automatic/loss_p_percentile"])
        for c in (0, 1, 3):
            own = np.sort(losses if c == 3 else losses[labels[chosen] == c])[::-1]
            percentile = own[round((len(own) - 1) * (1 - shares[c]))]
            decay = 0.5 ** (len(own) / 100)
            sums[c] = decay * sums[c] + (1 - decay) * percentile
            weights[c] = decay * weights[c] + (1 - decay)
            average[c] = sums[c] / weights[c]
        kept = losses <= average[labels[chosen]] + 1e-6
        np.testing.assert_array_equal(weighed.weights.numpy()[:, 0], kept)
        assert scalars["automatic/by_class"] == 1
        assert scalars["debug/loss_moving_percentile"] == pytest.approx(average[3], rel=1e-5)
    state = context.state["loss_moving_average"].numpy()
    np.testing.assert_allclose(state, [sums, weights], rtol=1e-5)
    assert "by class)" in context.remarks[0]()


@pytest.mark.parametrize("starves", [False, True])
def test_each_class_has_its_percentile_where_one_would_starve(monkeypatch, starves):
    """Losses of class 0 are larger: below the common percentile there are hardly any of it."""
    monkeypatch.setattr(decisions, "may_begin", lambda *_: True)
    context = Context(num_examples=SAMPLES, num_classes=2)
    weighting = make("self_paced", context, AUTO | {"example_dropout_rates": "0,100"})
    labels = np.arange(SAMPLES) % 2
    losses = (np.random.default_rng(0).random(SAMPLES) + 2 * (labels == 0)).astype(np.float32)

    def weigh(step, chosen):
        arrive(context, step)
        given, positions = tf.constant(labels[chosen]), tf.constant(chosen)
        batch = Batch(
            tf.constant(losses[chosen, None]), 40, step, labels=given, positions=positions
        )
        return weighting(batch)

    for step in range(4):
        weigh(step, np.arange(100 * step, 100 * step + 100))
    values = history_values(0.4, 0.0)
    values[:, list(COLUMNS).index("mean_given")] = np.exp(-losses) if starves else 0.5
    context.history().values.assign(values)
    weighed = weigh(8, np.arange(150, 250))
    assert weighed.scalars["automatic/by_class"] == starves
    assert not [name for name in weighed.scalars if name.endswith(("/0", "/1"))]
    percentiles = [found(context).percentile, *found(context).by_class]
    ruling = percentiles[1:] if starves else percentiles[:1]
    for name, value in (("lowest", min(ruling)), ("highest", max(ruling))):
        assert weighed.scalars[f"automatic/{name}_percentile"] == value
    kept = weighed.weights.numpy()[:, 0]
    shares = [kept[labels[150:250] == c].mean() for c in (0, 1)]
    expected = [0.55, 0.55] if starves else [0.1, 1.0]
    assert shares == pytest.approx(expected, abs=0.06)
    assert ("by class)" in context.remarks[0]()) == starves


def test_what_a_percentile_for_each_class_needs():
    with pytest.raises(InputError, match="`class_balanced` needs loss_p_percentile=auto"):
        WeightingConfig(class_balanced=True)
    with pytest.raises(InputError, match="`num_classes` must be given"):
        make("self_paced", Context(num_examples=SAMPLES), BALANCED)
    weighting = make("self_paced", Context(num_examples=SAMPLES, num_classes=3), BALANCED)
    for known in ({}, {"positions": tf.range(4)}, {"labels": tf.zeros([4], tf.int64)}):
        with pytest.raises(InputError, match="`auto` needs positions, and labels"):
            weighting(Batch(tf.ones([4, 1]), 40, 3, **known))


def test_a_checkpoint_of_other_state_is_refused_by_name(tmp_path):
    """As an earlier version wrote it."""
    trainer = weighting_runs.make_trainer("automatic")
    state = trainer.state()
    name = "automatic_changed_visits"
    earlier = {other: variable for other, variable in state.items() if other != name}
    assert len(earlier) == len(state) - 1
    RunCheckpoint(str(tmp_path), trainer.student, {}, earlier, 1, [trainer.history]).save()
    now = RunCheckpoint(str(tmp_path), trainer.student, {}, state, 1, [trainer.history])
    with pytest.raises(
        InputError, match=f"state that this run has.* missing=.'{name}'., unexpected=.."
    ):
        now.restore_latest()
    RunCheckpoint(str(tmp_path), trainer.student, {}, state, 1, [trainer.history]).save()
    now = RunCheckpoint(str(tmp_path), trainer.student, {}, earlier, 1, [trainer.history])
    with pytest.raises(InputError, match=f"missing=.., unexpected=.'{name}'."):
        now.restore_latest()


def test_a_second_weighting_takes_what_the_first_found(monkeypatch):
    """Mixed samples are compared with an average of their own, and are no further visits."""
    monkeypatch.setattr(decisions, "may_begin", lambda checks, *_: checks[:, 0].any())
    context = Context(num_examples=SAMPLES, num_classes=4)
    first = make("self_paced", context, AUTO)
    mixed = context.for_mixed(first)
    second = make("self_paced", mixed, AUTO)
    assert list(mixed.state) == ["mixed_loss_moving_average"]
    context.history().values.assign(history_values(0.3, 0.5, 1))
    arrive(context, 12)
    losses = tf.range(100, dtype=tf.float32)[:, None]
    known: dict[str, Any] = {"labels": tf.zeros([100], tf.int64), "positions": tf.range(100)}
    # The place of the percentile, LOWERED, from the largest of 100: round(99 * 0.346) = 34.
    for weigh, factor, average in ((first, 1.0, 65), (second, 2.0, 130)):
        scalars: Any = weigh(Batch(factor * losses, 60, 12, **known)).scalars
        assert scalars["automatic/burn_in"] == 0
        assert scalars["debug/loss_moving_percentile"].numpy() == pytest.approx(average)
        assert context.state["automatic_samples_passes"].numpy().tolist() == [1300, 3]


def test_a_fixed_percentile_under_an_automatic_burn_in(monkeypatch):
    """One average for all classes, so that neither labels nor positions are needed."""
    monkeypatch.setattr(decisions, "may_begin", lambda checks, *_: checks[:, 0].any())
    settings: dict[str, Any] = {"loss_p_percentile": 0.75, "burn_in_epoch": "auto"}
    settings["example_dropout_rates"] = "0,100"
    context = Context(num_examples=SAMPLES, num_classes=4)
    weighting = make("self_paced", context, settings)
    assert num_classes(context, WeightingConfig(**settings)) == 0
    assert num_classes(context, WeightingConfig(**AUTO)) == 4
    assert context.state["loss_moving_average"].shape == (2, 1)
    assert "given_labels" not in context.state
    losses = tf.range(1, 101, dtype=tf.float32)[:, None]

    def weigh(step, factor):
        arrive(context, step)
        found: Any = weighting(Batch(factor * losses, 5 * step, step))
        return found.weights.numpy(), {name: float(v) for name, v in found.scalars.items()}

    assert (weigh(8, 1.0)[0] == 1).all()
    context.history().values.assign(history_values(0.3, 0.5, 1))
    # The place from the largest is round(99 / 4) = 25: 75, then 150. The mean of both with weights
    # 1/4 and 1/2 is 125, which 62 of the losses 2, 4, ... do not exceed.
    for step, factor, average, kept in ((12, 1.0, 75, 75), (13, 2.0, 125, 62)):
        weights, scalars = weigh(step, factor)
        assert scalars["debug/loss_moving_percentile"] == pytest.approx(average)
        assert weights.sum() == kept
        for name in ("loss_p", "lowest", "highest"):
            assert scalars[f"automatic/{name}_percentile"] == 0.75


def test_the_epoch_stays_where_an_automatic_burn_in_ended(monkeypatch):
    """Until then it is the training's, and so is the last rate of example dropout after it."""
    monkeypatch.setattr(decisions, "may_begin", lambda checks, *_: checks[:, 0].any())
    settings = AUTO | {"fixed_epoch_after_burn_in": True, "example_dropout_rates": "0,70,1,30"}
    context = Context(num_examples=SAMPLES, num_classes=4)
    weighting = make("self_paced", context, settings)
    known: dict[str, Any] = {"labels": tf.zeros([100], tf.int64), "positions": tf.range(100)}
    found = []
    for step in (4, 8, 12, 13, 15):
        if step == 12:
            context.history().values.assign(history_values(0.3, 0.5, 1))
        arrive(context, step)
        scalars: Any = weighting(Batch(tf.ones([100, 1]), 5 * step, step, **known)).scalars
        assert scalars["debug/dropout_rate"] == 0
        found.append(int(scalars["debug/epoch_step"]))
    assert found == [20, 40, 60, 60, 60]


def test_a_sample_without_a_visit_belongs_to_no_class(monkeypatch):
    """Its label is not known yet; of the others one visit is enough."""
    probabilities = property(lambda visits: (visits.wrong, []))
    monkeypatch.setattr(ranking.Visits, "wrong_probabilities", probabilities)
    monkeypatch.setattr(decisions, "may_begin", lambda *_: True)
    context = Context(num_examples=SAMPLES, num_classes=2)
    automatic = Automatic(context, WeightingConfig(**BALANCED))
    number = np.arange(SAMPLES)
    automatic.remember_labels(tf.constant(number[:360]), tf.constant(number[:360] % 2))
    values = history_values(0.3, 0.0)
    values[:, list(COLUMNS).index("num_counted")] = number < 360
    values[:, list(COLUMNS).index("num_wrong")] = number < 120
    context.history().values.assign(values)
    look(automatic, context, 2, 40)
    # A third of the 360, and of each class; less sqrt(2 / 9 / 100).
    shares = np.append(found(context).percentile, found(context).by_class)
    np.testing.assert_allclose(shares, [2 / 3 - np.sqrt(2) / 30] * 3, rtol=1e-6)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_no_class_is_refused(label):
    automatic = Automatic(Context(num_examples=2, num_classes=2), WeightingConfig(**AUTO))
    automatic.remember_labels(tf.constant([0, 1]), tf.constant([0, 1]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"needs labels in 0\.\.1"):
        automatic.remember_labels(tf.constant([0, 1]), tf.constant([0, label]))


def test_what_is_told_of_a_weighted_training():
    context = Context(num_examples=SAMPLES, num_classes=3)
    Automatic(context, WeightingConfig(**AUTO))
    for name, value in State(0.654, 8.0, 0.1, 1.0, [0.25, 0.9, 0.5])._asdict().items():
        context.state[f"automatic_{name}"].assign(value)
    values, column = history_values(0.3, 0.1), list(COLUMNS).index

    def told():
        context.history().values.assign(values)
        return context.remarks[0]()

    of_labels = "at the last check 10.0% of the contradicted labels were predicted."
    weighted = "auto: weighted from 7 % of the training on, with percentile 0.654 "
    assert told() == f"{weighted}(0.250 to 0.900 by class); {of_labels}"
    values[:, column("num_wrong")] = 5  # Of ten visits: half is not most.
    values[0, [column("num_wrong"), column("num_counted")]] = 0
    assert told().endswith("; no label was contradicted at most visits.")
    values[1, column("num_wrong")] = 6
    assert told().endswith(of_labels)
    values[3, column("mean_margin")] = np.nan
    assert told().startswith(weighted)


def test_the_second_half_begins_at_half(monkeypatch):
    monkeypatch.setattr(ranking.Visits, "right_left_out", lambda visits, share: 0.0)
    automatic, context = made(**AUTO)
    falling = np.cumsum(0.8 ** np.arange(13))
    for number, epoch in ((12, 49), (13, 50)):
        pass_over(automatic, context, number, epoch, changed=falling)
        assert bool(automatic.rules(tf.constant(epoch)).is_burn_in) == (epoch < 50)


def test_the_training_says_when_its_rate_rises_last():
    """airbench's, at 23 % of the steps."""
    values: dict[str, Any] = {"batch_size": 40, "max_number_of_steps": 200}
    values |= {"mixed_precision": "float32", "weighting": NamedWeighting("self_paced", AUTO)}
    asked = TrainConfig("-", "-", studentnet="airbench93", **values)
    weighting: Any = make_trainer(asked, SAMPLES, 3, (9, 9, 3)).weighting
    assert weighting._automatic._last_rise == 23


@pytest.mark.parametrize(
    ("passes", "reason"),
    [(4, "takes more than 5 passes"), (12, "too many correct labels would be left out")],
)
def test_a_training_that_it_leaves_alone_is_the_unweighted_one(
    digits, tmp_path, capsys, monkeypatch, passes, reason
):
    """200 samples, four steps a pass: parameters and history agree bit for bit."""
    monkeypatch.setattr(decisions, "may_begin", lambda *_: False)
    monkeypatch.setattr(ranking.Visits, "right_left_out", lambda visits, share: 1.0)
    settings: dict[str, Any] = {"batch_size": 50, "max_number_of_steps": 4 * passes}
    settings |= {"record_sample_weights": True, "log_every_steps": 4 * passes}
    automatic = NamedWeighting("self_paced", AUTO)
    for name, weighting in (("plain", None), ("auto", automatic)):
        loop.train(helpers.config(digits, tmp_path / name, weighting=weighting, **settings))
    output = capsys.readouterr().out
    assert "auto: no sample was down-weighted" in output and reason in output
    plain, auto = (helpers.latest_state(tmp_path / name) for name in ("plain", "auto"))
    assert plain.keys() < auto.keys()
    for name, values in plain.items():
        np.testing.assert_array_equal(auto[name], values, err_msg=name)
