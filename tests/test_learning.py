"""Learning the predefined curricula: errors on and outside the grid, for any seed."""

import re
from typing import Any

import numpy as np
import pytest
from curricula_errors import DEFAULTS, SHIPPED, errors, learn
from helpers import times

from mentornet import InputError, MentorNet, load_mentornet
from mentornet.learning import curricula, settings, teaching, training_rows
from mentornet.weighting.features import RELEASE
from mentornet.weighting.mentor_checkpoints import shipped_mentornets
from mentornet_learning import train


def check(vstar_fn, mentor):
    grid, outside, smallest = errors(vstar_fn, mentor)
    assert grid <= 1e-4
    assert outside <= 2e-3
    if vstar_fn == "baseline":
        assert smallest > 0.999


@pytest.mark.parametrize("vstar_fn", SHIPPED)
def test_shipped(vstar_fn):
    check(vstar_fn, load_mentornet(shipped_mentornets()[vstar_fn]))


@pytest.mark.slow
@pytest.mark.parametrize("vstar_fn", SHIPPED)
def test_whatever_the_seed(vstar_fn):
    """One seed each, another for each curriculum; five with MENTORNET_FAULTS=full."""
    first, count = sorted(SHIPPED).index(vstar_fn), times(1, 5)
    for seed in range(count * first, count * (first + 1)):
        check(vstar_fn, learn(vstar_fn, seed, DEFAULTS))


def test_gamma_is_honoured():
    for name, gamma in (("spcl_linear", 2.0), ("focal_loss", 0.5), ("mentornet_pd", 3.0)):
        features, targets = training_rows.generate(name, gamma, 1000, 0)
        np.testing.assert_allclose(targets, curricula.CURRICULA[name](features, gamma), atol=1e-6)
        assert np.abs(targets - curricula.CURRICULA[name](features, None)).max() > 0.05


def test_a_curriculum_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(
        "def half(features, gamma):\n    return 0.5 + 0 * features[:, 0]\n"
        "def wrong(features, gamma=0.25):\n    return 2 + 0 * features[:, 0]\n"
        "def more(features, gamma=0.25):\n    return gamma + 0 * features[:, 0]\n"
        "def other(features, gamma, least=0.5):\n    return least + 0 * features[:, 0]\n"
        "class Own:\n    __call__ = lambda self, x, gamma=0.75: gamma + 0 * x[:, 0]\n"
        "own = Own()\n"
        "def rows(features, gamma):\n    return features\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    _, targets = training_rows.generate("own:half", None, 100, 0)
    np.testing.assert_array_equal(targets, 0.5)
    for name, gamma, expected in (
        ("more", None, 0.25),
        ("more", 0.75, 0.75),
        ("other", None, 0.5),
        ("own", None, 0.75),
    ):
        _, targets = training_rows.generate(f"own:{name}", gamma, 100, 0)
        np.testing.assert_array_equal(targets, expected)
    for name, part in (
        ("own:wrong", r"one weight in 0..1 per sample. Received: outside=\[2.0, 2.0, 2.0\]"),
        ("own:rows", r"one weight in 0..1 per sample. Received: shape=\(100, 4\)"),
        ("own:missing", "cannot be imported"),
        ("nowhere:half", "cannot be imported"),
        ("os:system", "`vstar_fn` os:system cannot be called: "),
        ("os:sep", "`vstar_fn` os:sep cannot be called: "),
    ):
        with pytest.raises(InputError, match=part):
            training_rows.generate(name, None, 100, 0)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (("own", None, 100, 0), "self_paced, hard_example_mining"),
        (("self_paced", -1.0, 100, 0), "`vstar_gamma` must be positive"),
        (("self_paced", 0.0, 100, 0), "`vstar_gamma` must be positive"),
        (("self_paced", None, 2_000_000, 0), "10..1200000"),
    ],
)
def test_data_generator_rejects(values, part):
    with pytest.raises(InputError, match=part):
        training_rows.generate(*values)


def test_train_rejects_bad_data(tmp_path):
    good: dict[str, Any] = {"features": np.zeros((5, 4)), "targets": np.ones(5)}

    def at(column, value):
        features = np.zeros((5, 4))
        features[2, column] = value
        return {"features": features}

    for change, part in (
        ({"targets": np.ones(4)}, r"features \[n, 4\]"),
        ({"targets": np.full(5, 2.0)}, "must lie in 0..1"),
        ({"targets": np.array([1, 1, np.nan, 1, 1])}, "finite"),
        (at(3, 100), "epochs must lie in 0..99"),
        ({"targets": np.full(5, -0.1)}, "must lie in 0..1"),
        ({"targets": np.full(5, "1")}, "finite"),
        ({"features": np.full((5, 4), "1")}, "finite"),
        ({"feature_names": np.array("loss")}, r"Received: features=\('loss',\)"),
        ({"feature_names": np.array(RELEASE[:3]), "features": np.zeros((5, 3))}, "begin with loss"),
        ({"feature_names": np.array([*RELEASE, "mean_loss"])}, r"features \[n, 5\]"),
        ({"targets": np.ones((5, 1))}, r"targets \[n\]"),
        ({"features": np.zeros((0, 4)), "targets": np.ones(0)}, "n > 0"),
        (at(0, np.inf), "finite"),
        (at(2, -1), "Labels in .* must not be negative"),
        (at(3, -1), "epochs must lie in 0..99"),
    ):
        np.savez(tmp_path / "bad.npz", **(good | change))
        with pytest.raises(InputError, match=part):
            training_rows.read_rows(tmp_path / "bad.npz")
    np.savez(tmp_path / "good.npz", **(good | at(2, 100)))  # 100 classes and more.
    assert training_rows.read_rows(tmp_path / "good.npz")[0][2, 2] == 100
    np.savez(tmp_path / "good.npz", **good)
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(tmp_path / "lacks.npz", features=np.zeros((5, 4)))
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("no zip")
    for name in ("none.npz", "text.npz", "half.npz", "lacks.npz", "empty.npz"):
        with pytest.raises(InputError, match="cannot be read"):
            training_rows.read_rows(tmp_path / name)
    np.savez(tmp_path / "pickle.npz", features=np.array([{}], object), targets=np.ones(1))
    with pytest.raises(InputError, match="cannot be read"):
        training_rows.read_rows(tmp_path / "pickle.npz")
    targets = np.array([0, 1, 0.5, 1, 1])
    np.savez(tmp_path / "good.npz", features=at(3, 99)["features"], targets=targets)
    features, targets = training_rows.read_rows(tmp_path / "good.npz")
    assert features.dtype == targets.dtype == np.float32
    assert (features[2, 3], targets.tolist()) == (99, [[0], [1], [0.5], [1], [1]])


def scaled(mentor, factor):
    """A copy whose logits are `factor` times those of `mentor`."""
    copy = MentorNet()
    copy.set_weights(mentor.get_weights())
    for name in ("mentornet/Variable_2", "mentornet/Variable_3"):
        copy.tf1_variables[name].assign(copy.tf1_variables[name] * factor)
    return copy


def test_an_update_does_not_make_weights_softer():
    """Logits are scaled by as much as it takes, and not at all if that is nothing."""
    loss = np.linspace(0, 8, 50, dtype=np.float32)
    features = np.stack([loss, loss - 2, 0 * loss, 0 * loss + 18], axis=1)

    def softness(mentor):
        weights = mentor.sample_weights(features).numpy()
        return float(np.mean(weights * (1 - weights)))

    soft = MentorNet(seed=1)
    soft.tf1_variables["mentornet/Variable_3"].assign([0.1])
    for factor in (20, 3, 1, 0.3):
        before, learned = scaled(soft, factor), scaled(soft, 1)
        logits = learned(features).numpy()
        teaching.harden(learned, before, features)
        assert softness(learned) <= softness(before) + 1e-6
        of_all = learned(features).numpy() / logits
        # Steps of 2.4 %, and never below 1.
        assert of_all == pytest.approx(max(factor, 1), rel=0.025)
    same = scaled(soft, 1)
    teaching.harden(same, soft, features)
    np.testing.assert_array_equal(same(features), soft(features))
    never = scaled(soft, 1e6)  # As hard as float32 allows: the largest factor is taken.
    learned = scaled(soft, 1)
    teaching.harden(learned, never, features)
    assert learned(features).numpy() == pytest.approx(1000 * soft(features).numpy(), rel=1e-3)


def test_what_is_learned_further_is_no_softer(monkeypatch):
    """Though the wrong labels of this dump, a fifth at any loss, make it less sure."""
    random = np.random.default_rng(0)
    loss, right = random.uniform(0, 6, 100), random.random(100) < 0.8
    right ^= loss > 3
    clean = np.zeros(100)
    dump = np.stack([np.arange(100), clean + 18, clean + ~right, clean, loss], axis=1)
    before = scaled(load_mentornet(shipped_mentornets()["self_paced"]), 5)
    features, _ = training_rows.data_driven(dump, 50)
    monkeypatch.setitem(settings.DEFAULTS, "num_steps", 100)
    learned = teaching.relearn(before, dump, 50, 0)
    assert np.abs(learned(features) - before(features)).max() > 1  # Something was learned.
    decided = [np.abs(m.sample_weights(features).numpy() - 0.5).mean() for m in (before, learned)]
    assert decided[1] > 0.95 * decided[0]


def test_a_dump_of_too_few_rows():
    rows = np.zeros((4, 4), np.float32), np.zeros((4, 1), np.float32)
    with pytest.raises(InputError, match="at least 5 rows .* to learn from. Received: rows=4"):
        teaching.learn_noisy(rows, rows, seed=0, **settings.DEFAULTS)


def rows_of_losses(count):
    loss = np.linspace(0, 4, count, dtype=np.float32)
    return np.stack([loss, loss - 2, 0 * loss, 0 * loss + 18], axis=1)


def test_the_start_is_kept_if_nothing_better_is_learned(capsys):
    """Targets are its own weights; a huge rate leads away from them."""
    start, features = MentorNet(seed=1), rows_of_losses(40)
    rows = features, start.sample_weights(features).numpy()
    how: dict[str, Any] = {"num_steps": 30, "batch_size": 8, "learning_rate": 1.0, "seed": 0}
    learned = teaching.learn_noisy(rows, rows, start=start, **how)
    assert learned is not start
    assert capsys.readouterr().out.rstrip().endswith("best so far at 0")
    for ours, theirs in zip(learned.get_weights(), start.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_input_gates_stay_open():
    features = rows_of_losses(40)
    rows = features, (features[:, :1] < 2).astype(np.float32)
    learned = teaching.learn(rows, rows, num_steps=20, batch_size=16, learning_rate=0.05, seed=0)
    initial = teaching.initial_mentornet(2, 0)
    for way in ("fw", "bw"):
        name = f"mentornet/bidirectional_rnn/{way}/basic_lstm_cell/kernel"
        before, after = (m.tf1_variables[name].numpy() for m in (initial, learned))
        np.testing.assert_array_equal(after[:, 0], 0)
        assert (before[:2, 1] != after[:2, 1]).all()  # The rest of the cell is trained.


def test_five_rows_are_learned_from():
    rows = rows_of_losses(5), np.array([[1], [1], [0], [1], [0]], np.float32)
    how: dict[str, Any] = {"num_steps": 1, "batch_size": 2, "learning_rate": 0.05, "seed": 0}
    assert isinstance(teaching.learn_noisy(rows, rows, **how), MentorNet)


def test_a_loss_that_is_not_finite():
    features = rows_of_losses(5)
    features[:, 0] = np.inf
    rows = features, np.ones((5, 1), np.float32)
    with pytest.raises(InputError, match="The loss before step 1 must be finite"):
        teaching.learn(rows, rows, num_steps=1, batch_size=5, learning_rate=0.05, seed=0)


def test_every_label_has_a_row_of_the_embedding():
    none, some = rows_of_losses(3), rows_of_losses(3)
    some[1, 2] = 3
    targets = np.ones((3, 1), np.float32)
    assert teaching._num_labels((none, targets), (none, targets)) == 2
    assert teaching._num_labels((none, targets), (some, targets)) == 4
    assert teaching._num_labels((some, targets), (none, targets)) == 4
    how: dict[str, Any] = {"num_steps": 1, "batch_size": 3, "learning_rate": 0.05, "seed": 0}
    assert teaching.learn((some, targets), (none, targets), **how).num_labels == 4
    five = rows_of_losses(5), np.ones((5, 1), np.float32)
    assert teaching.learn_noisy(five, (some, targets), **how).num_labels == 4


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64])
def test_rows_may_be_whole_numbers(tmp_path, kind):
    targets = np.array([0, 1, 1, 0, 1]).astype(kind)
    np.savez(tmp_path / "rows.npz", features=np.zeros((5, 4), np.int64), targets=targets)
    found = training_rows.read_rows(tmp_path / "rows.npz")[1]
    assert found.tolist() == [[0], [1], [1], [0], [1]]


def test_a_fifth_is_held_back_and_weights_decay(monkeypatch):
    made = []

    class Spy(teaching.Learner):
        def __init__(self, rows, **how):
            made.append((rows, how))
            super().__init__(rows, **how)

    monkeypatch.setattr(teaching, "Learner", Spy)
    rows = rows_of_losses(50), np.tile([[1.0], [0.0]], (25, 1)).astype(np.float32)
    teaching.learn_noisy(rows, rows, num_steps=1, batch_size=4, learning_rate=0.05, seed=0)
    ((trained, how),) = made
    for part, whole in zip(trained, rows, strict=True):
        np.testing.assert_array_equal(part, whole[10:])
    assert how["weight_decay"] == 0.1


def test_weight_decay_is_decoupled():
    rows = rows_of_losses(20), np.tile([[1.0], [0.0]], (10, 1)).astype(np.float32)
    name, found = "mentornet/Variable", []
    for decay in (0.0, 1.0):
        how: dict[str, Any] = {"num_steps": 10, "batch_size": 4, "learning_rate": 0.05, "seed": 0}
        learner = teaching.Learner(rows, **how, weight_decay=decay)
        learner.run(1)
        found.append(learner.mentor.tf1_variables[name].numpy())
    initial = teaching.initial_mentornet(2, 0).tf1_variables[name].numpy()
    np.testing.assert_allclose(found[0] - found[1], 0.05 * initial, rtol=1e-3, atol=1e-6)


def test_an_update_goes_on_from_the_mentornet(monkeypatch):
    for name, value in (("num_steps", 1), ("learning_rate", 1e-9)):
        monkeypatch.setitem(settings.DEFAULTS, name, value)
    number = np.arange(20.0)
    dump = np.stack([number, 0 * number + 18, number % 2, 0 * number, number / 5], axis=1)
    before = MentorNet(num_labels=10, seed=1)
    learned = teaching.relearn(before, dump, 50, 0)
    assert learned.num_labels == 10
    ours, theirs = (m.tf1_variables["mentornet/Variable"].numpy() for m in (learned, before))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_what_is_held_back_decides_when_to_stop(monkeypatch, capsys):
    """Its loss is lowest after 50 of 100 steps, here by definition; others are not asked for."""
    rows = rows_of_losses(50), np.tile([[1.0], [0.0]], (25, 1)).astype(np.float32)
    losses = iter((0.4, 0.2, 0.3, 0.3))

    def told(*part):
        np.testing.assert_array_equal(part[0], rows[0][:10])
        return next(losses)

    class Told(teaching.Learner):
        def __init__(self, rows, **how):
            super().__init__(rows, **how)
            self.loss = told  # The training does not use it.

    monkeypatch.setattr(teaching, "Learner", Told)
    teaching.learn_noisy(rows, rows, num_steps=100, batch_size=32, learning_rate=0.05, seed=0)
    assert capsys.readouterr().out.rstrip().endswith("best so far at 50")
    assert next(losses, None) is None


def test_what_the_script_asks_for(tmp_path, monkeypatch):
    rows = np.zeros((10, 4), np.float32)
    training_rows.write(rows, np.full(10, 0.5, np.float32), str(tmp_path), "own")
    values: dict[str, Any] = {"train_dir": str(tmp_path), "data_path": str(tmp_path), "seed": 3}
    values |= {"mini_batch_size": 4, "max_step_train": 7.0, "learning_rate": 0.5}
    values["checkpoint_name"] = "own"
    asked = []

    def learn(*rows, **how):
        asked.append(how)
        return MentorNet()

    monkeypatch.setattr(train.config_flags, "read_flags", lambda cls: values)
    monkeypatch.setattr(train.script, "load_tensorflow", lambda: None)
    monkeypatch.setattr(teaching, "learn", learn)
    train.main()
    expected = {"num_steps": 7, "batch_size": 4, "learning_rate": 0.5, "seed": 3}
    assert asked == [expected | {"features": RELEASE}]
    assert (tmp_path / "own.index").exists()


def test_rows_are_checked_before_anything_is_learned(tmp_path, monkeypatch):
    """Those held back are all clean: by which AUC would the MentorNet be judged?"""
    rows = np.zeros((10, 4), np.float32)
    targets = np.where(np.arange(10) < 8, np.arange(10) % 2, 1).astype(np.float32)
    training_rows.write(rows, targets, str(tmp_path), training_rows.DATA_DRIVEN)
    values = {"train_dir": str(tmp_path), "data_path": str(tmp_path)}
    monkeypatch.setattr(train.config_flags, "read_flags", lambda cls: values)
    monkeypatch.setattr(train.script, "load_tensorflow", lambda: None)
    monkeypatch.setattr(teaching, "learn_noisy", lambda *rows, **how: pytest.fail("learns"))
    with pytest.raises(InputError, match="ts.npz must hold clean and corrupted samples"):
        train.main()


def test_where_learning_begins():
    """One cell has the difference as its input, the other (loss / 10 - difference), 0 at 5."""
    mentor = teaching.initial_mentornet(2, 0)
    for way, input_weights, bias in (("fw", [0, 1], 0), ("bw", [0.1, -1], 0.5)):
        cell = f"mentornet/bidirectional_rnn/{way}/basic_lstm_cell"
        kernel, biases = (mentor.tf1_variables[f"{cell}/{n}"].numpy() for n in ("kernel", "bias"))
        np.testing.assert_allclose(kernel[:2, 1], input_weights)
        assert np.count_nonzero(kernel) == np.count_nonzero(input_weights)
        np.testing.assert_allclose(biases, [2, bias, 0, 0])


@pytest.mark.parametrize("name", ["learn", "learn_noisy"])
def test_what_is_printed_while_learning(monkeypatch, capsys, name):
    """Every 50 steps and at the end, the errors of training and of held-out rows."""
    monkeypatch.setattr(teaching, "_STEPS_PER_REPORT", 50)
    features = rows_of_losses(40)
    train, test = (features, (features[:, :1] < 2) * 1.0), (features[:5], np.zeros((5, 1)))
    how: dict[str, Any] = {"num_steps": 110, "batch_size": 8, "learning_rate": 0.05, "seed": 0}
    rows = [tuple(part.astype(np.float32) for part in each) for each in (train, test)]
    mentor = getattr(teaching, name)(*rows, **how)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["50/110", "100/110", "110/110"]
    shown = [float(part) for part in re.findall(r"t(?:rain|est) (\S+?),?(?= |$)", lines[-1])]
    assert shown[0] < 0.5 < shown[1]  # The held-out targets are wrong.
    if name == "learn":  # The other returns its best step.
        error, held_out = (np.mean((mentor.sample_weights(x).numpy() - y) ** 2) for x, y in rows)
        assert lines[-1].endswith(f"train {error:.2e} test {held_out:.2e}")


@pytest.mark.parametrize(("targets", "is_entropy"), [((0, 1, 1), True), ((0, 0.5, 1), False)])
def test_which_loss_is_minimised(targets, is_entropy):
    """Cross entropy if all targets are 0 or 1, else the squared error."""
    features, y = rows_of_losses(3), np.array(targets, np.float32)[:, None]
    how: dict[str, Any] = {"num_steps": 1, "batch_size": 3, "learning_rate": 0.05, "seed": 0}
    learner = teaching.Learner((features, y), **how)
    w = learner.mentor.sample_weights(features).numpy().astype(np.float64)
    entropy = -np.mean(y * np.log(w) + (1 - y) * np.log(1 - w))
    expected = entropy if is_entropy else np.mean((w - y) ** 2)
    assert float(learner.loss(features, y)) == pytest.approx(expected, rel=1e-4)


def test_the_rate_falls_to_0_along_a_cosine_and_gradients_are_clipped():
    rows = rows_of_losses(4), np.array([[1], [0], [1], [0]], np.float32)
    how: dict[str, Any] = {"num_steps": 8, "batch_size": 4, "learning_rate": 0.05, "seed": 0}
    optimizer = teaching.Learner(rows, **how)._optimizer
    assert optimizer.global_clipnorm == 5
    for step, rate in ((0, 0.05), (4, 0.025), (8, 0.0)):
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(rate, abs=1e-6)


def test_batches_are_drawn_by_seed_and_step():
    """At this rate nothing is learned, so that losses differ only with the rows drawn."""
    rows = rows_of_losses(50), np.tile([[1.0], [0.0]], (25, 1)).astype(np.float32)
    how: dict[str, Any] = {"num_steps": 9, "batch_size": 4, "learning_rate": 1e-12}
    start, losses = MentorNet(seed=1), []
    for seed in (0, 0, 1):
        learner = teaching.Learner(rows, seed=seed, start=start, **how)
        losses.append([float(learner._step()) for _ in range(2)])
    first, again, other = losses
    assert first == pytest.approx(again, rel=1e-6)
    assert first[0] != pytest.approx(first[1], rel=1e-5)
    assert first[0] != pytest.approx(other[0], rel=1e-5)


@pytest.mark.parametrize("name", ["", "..", "a/b", "../b", "/b"])
def test_names_of_checkpoints_that_lead_elsewhere(name):
    with pytest.raises(InputError, match="`checkpoint_name` must be a file's name"):
        train.TeachingConfig("t", "d", checkpoint_name=name)
    train.TeachingConfig("t", "d", checkpoint_name="my net")


def test_an_update_learns_from_its_percentile_in_the_order_of_its_seed(monkeypatch):
    learned: list[Any] = []

    def learn_noisy(train, **how):
        learned.append((train, how))
        return MentorNet()

    monkeypatch.setattr(teaching, "learn_noisy", learn_noisy)
    number, start = np.arange(20.0), MentorNet(seed=1)
    dump = np.stack([number, 0 * number + 18, number % 2, 0 * number, number / 5], axis=1)
    teaching.relearn(start, dump, 80, 3)
    (((features, targets), how),) = learned
    expected = training_rows.data_driven(training_rows.shuffled(dump, 3), 80)
    np.testing.assert_array_equal(features, expected[0])
    np.testing.assert_array_equal(targets[:, 0], expected[1])
    assert how["seed"] == 3 and how["start"] is start


@pytest.mark.parametrize("parts", [("train",), ("train", "test")])
def test_errors_are_printed_of_the_rows_that_are_given(parts, capsys):
    features = np.random.default_rng(0).uniform(size=(20, 4)).astype(np.float32)
    rows = features, np.ones((20, 1), np.float32)
    teaching.learn_noisy(*[rows] * len(parts), num_steps=1, batch_size=4, learning_rate=0.1, seed=0)
    told = capsys.readouterr().out
    assert [word for word in told.split() if word in ("train", "test")] == list(parts)


def test_initial_weights_are_those_of_the_seed():
    name = "mentornet/Variable"
    found = [teaching.initial_mentornet(2, s).tf1_variables[name].numpy() for s in (3, 3, 4)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_a_batch_is_drawn_from_all_rows(monkeypatch):
    """The last as well; as many as are asked for."""
    features, batches = rows_of_losses(5), []
    learner = teaching.Learner(
        (features, np.ones((5, 1), np.float32)),
        batch_size=100,
        num_steps=1,
        learning_rate=0.05,
        seed=0,
    )
    loss = learner._loss

    def kept(x, y):
        batches.append(x.numpy())
        return loss(x, y)

    monkeypatch.setattr(learner, "_loss", kept)
    learner._step()
    assert len(batches[0]) == 100 and set(batches[0][:, 0]) == set(features[:, 0])
