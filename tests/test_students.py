"""The networks: sizes, names, initial values and their oddities."""

import itertools
import json
import random
import sys
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import GOLDEN, normalized_network

from mentornet import InputError, build_student, restore_tf1_student
from mentornet.runs import checkpoints, students
from mentornet.students import registry
from mentornet.students.batch_normalization import BatchNormalization
from mentornet.students.local_response_normalization import LocalResponseNormalization
from mentornet.students.networks import STUDENTS, coteaching_cnn, mlp, preactivation, resnet101
from mentornet.students.tf1_checkpoints import save_tf1_student


def num_parameters(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.fixture(scope="module")
def inception():
    return build_student("inception", 10)


@pytest.fixture(scope="module")
def resnet():
    return build_student("resnet101", 10)


def test_images_too_small_for_inception():
    assert build_student("inception", 10, image_shape=(4, 5, 3)).output.shape == (None, 10)
    with pytest.raises(InputError, match="inception needs images of at least 4 pixels per side"):
        build_student("inception", 10, image_shape=(8, 3, 3))


def test_a_frozen_layer_has_no_statistics_to_synchronise():
    with pytest.raises(InputError, match="needs a student with batch normalisation"):
        registry.synchronize_batch_norm(build_student("mlp", 10, image_shape=(7,)))


def test_parameter_counts(inception, resnet):
    assert num_parameters(inception) == 1_756_426
    assert num_parameters(resnet) == 84_627_034
    assert num_parameters(build_student("inception", 100)) == 1_756_426 + 90 * 193


def test_names(inception, resnet):
    names = set(registry.tf1_variables(inception))
    layers = ("conv1", "conv2", "fc3", "fc4", "logits")
    assert names == {f"CifarNet/{n}/{kind}" for n in layers for kind in ("weights", "biases")}
    names = set(registry.tf1_variables(resnet))
    assert len(names) == 277
    assert {
        "init/init_conv/DW",
        "unit_1_0/shared_activation/init_bn/moving_mean",
        "unit_3_8/residual_only_activation/init_bn/gamma",
        "unit_2_0/sub1/conv1/DW",
        "unit_2_0/sub2/bn2/moving_variance",
        "unit_last/final_bn/beta",
        "logit/DW",
        "logit/biases",
    } <= names


def test_resnet101_for_the_release(resnet, tmp_path):
    """The names of the release's evaluation graph, all of its 277 variables."""
    save_tf1_student(resnet, str(tmp_path / "model.ckpt-3"), 3)
    golden = np.load(GOLDEN / "student_resnet101.npz")
    names = dict(json.loads(golden["variables"].item()))
    reader = tf.train.load_checkpoint(str(tmp_path / "model.ckpt-3"))
    assert reader.get_variable_to_shape_map() == {**names, "global_step": []}


def test_initial_values(inception, resnet):
    values = {n: v.numpy() for n, v in registry.tf1_variables(inception).items()}
    # A normal distribution truncated at two deviations has 0.88 of the deviation.
    for layer, stddev in (("conv1", 0.05), ("conv2", 0.05), ("fc3", 0.04), ("logits", 1 / 192)):
        weights = values[f"CifarNet/{layer}/weights"]
        assert weights.std() == pytest.approx(0.88 * stddev, rel=0.05)
        assert np.abs(weights).max() <= 2 * stddev
    for layer, bias in (("conv1", 0), ("fc3", 0.1), ("fc4", 0.1), ("logits", 0)):
        np.testing.assert_allclose(values[f"CifarNet/{layer}/biases"], bias)
    values = registry.tf1_variables(resnet)
    # By the number of outputs: the first two have fewer inputs than outputs.
    for unit, width in (("unit_1_0", 160), ("unit_2_0", 320), ("unit_2_3", 320)):
        kernel = values[f"{unit}/sub1/conv1/DW"].numpy()
        assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * width)), rel=0.02)
        assert np.abs(kernel).max() > 3 * kernel.std()  # Not truncated.
    dense, limit = values["logit/DW"].numpy(), np.sqrt(3 / 640)
    assert 0.98 * limit < np.abs(dense).max() <= limit
    assert dense.std() == pytest.approx(limit / np.sqrt(3), rel=0.03)
    np.testing.assert_array_equal(values["logit/biases"].numpy(), 0)


def test_seed_decides_the_initial_values(inception):
    same, other = build_student("inception", 10), build_student("inception", 10, seed=1)
    np.testing.assert_array_equal(same.weights[0].numpy(), inception.weights[0].numpy())
    assert np.abs(other.weights[0].numpy() - inception.weights[0].numpy()).max() > 0.01


def test_local_response_normalization_against_numpy():
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 64)).astype(np.float32) * 30
    expected = np.empty_like(x)
    for c in range(64):
        window = x[..., max(0, c - 4) : c + 5].astype(np.float64)
        scale = 1 + 0.001 / 9 * np.square(window).sum(-1)
        expected[..., c] = x[..., c] / scale**0.75
    np.testing.assert_allclose(LocalResponseNormalization()(x), expected, rtol=1e-5, atol=1e-6)


def test_local_response_normalization_and_its_gradient_equal_tensorflows():
    x = tf.random.stateless_normal((4, 5, 5, 64), (0, 0)) * 30
    dy = tf.random.stateless_normal(x.shape, (1, 0))
    results = []
    for function in (
        LocalResponseNormalization(),
        lambda v: tf.nn.local_response_normalization(v, 4, 1.0, 0.001 / 9, 0.75),
    ):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        results.append((y, tape.gradient(y, x, output_gradients=dy)))
    for ours, theirs in zip(*results, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-6)


def test_batch_normalization_against_numpy():
    random = np.random.default_rng(0)
    layer = BatchNormalization()
    layer.build((None, 4, 4, 3))
    decayed_mean, moving_variance = np.zeros(3), np.ones(3)
    for t in range(1, 4):
        x = random.normal(2, 3, size=(5, 4, 4, 3)).astype(np.float32)
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        outputs = layer(x, training=True)
        normal = (x - mean) / np.sqrt(variance + 0.001)
        np.testing.assert_allclose(outputs, normal, rtol=1e-4, atol=1e-5)
        # Kept from the release: the mean is zero-debiased, the variance is not.
        decayed_mean = 0.9 * decayed_mean + 0.1 * mean
        moving_variance = 0.9 * moving_variance + 0.1 * variance
        np.testing.assert_allclose(layer.moving_mean, decayed_mean / (1 - 0.9**t), rtol=1e-5)
        np.testing.assert_allclose(layer.moving_variance, moving_variance, rtol=1e-5)
    expected = (x - layer.moving_mean.numpy()) / np.sqrt(layer.moving_variance.numpy() + 0.001)
    np.testing.assert_allclose(layer(x, training=False), expected, rtol=1e-4, atol=1e-5)


def test_unknown_student_lists_the_known():
    with pytest.raises(InputError, match="coteaching_cnn, inception, mlp, preact_resnet18"):
        build_student("alexnet", 10)


def test_he_resnets():
    """Sizes of He et al. (2015), table 6: 0.27 and 0.46 million with the norms' parameters."""
    sizes = {name: num_parameters(build_student(name, 10)) for name in ("resnet20", "resnet32")}
    assert sizes == {"resnet20": 269_722, "resnet32": 464_154}
    model = build_student("resnet8", 7, image_shape=(8, 8, 3))
    assert model(tf.zeros((2, 8, 8, 3))).shape == (2, 7)
    # 2 layers per unit, 1 unit per stage, the first convolution and the last layer.
    assert sum(v.name == "kernel" for v in model.trainable_variables) == 8
    with pytest.raises(InputError, match="`student` must be one of inception, resnet101"):
        restore_tf1_student(model, "-")


def test_networks_of_the_field():
    """Sizes: 36.5 million (Zagoruyko and Komodakis 2016, table 4), 11.2 and 4.4 as in the code
    that accompanies DivideMix and Co-teaching, whose papers give none."""
    sizes = {"wrn28_10": 36_479_194, "preact_resnet18": 11_172_170, "coteaching_cnn": 4_434_570}
    for name, size in sizes.items():
        model = build_student(name, 10)
        assert num_parameters(model) == size
        assert model(tf.zeros((1, 32, 32, 3))).shape == (1, 10)


def test_sizes_of_images():
    """resnet101 halves any size as its convolutions do; the other has no pixels left below 28."""
    for size, halved in ((8, 4), (25, 13)):
        unit = resnet101._unit(keras.Input((size, size, 4)), 8, 2, "unit_2_0", itertools.count())
        assert unit.shape == (None, halved, halved, 8)
    assert build_student("coteaching_cnn", 10, image_shape=(28, 28, 1)).output.shape == (None, 10)
    with pytest.raises(InputError, match="needs images of at least 28 pixels per side"):
        build_student("coteaching_cnn", 10, image_shape=(27, 40, 3))


@pytest.mark.parametrize("name", STUDENTS.names())
def test_descriptions_say_the_number_of_parameters(name, inception, resnet):
    built = {"inception": inception, "resnet101": resnet}.get(name)
    more = ""
    if name == "mlp":
        built, more = build_student(name, 10, image_shape=(64,)), " for 64 features"
    built = built or build_student(name, 10)
    number = f"{num_parameters(built):,} parameters"
    assert STUDENTS.descriptions()[name].endswith(f"; {number}{more}.")


OWN = """
import keras
def build(num_classes):
    flat = [keras.layers.Flatten(), keras.layers.Dropout(0.1)]
    return keras.Sequential([*flat, keras.layers.Dense(num_classes)])
def wrong(num_classes):
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
def none(num_classes):
    return None
def two(num_classes):
    x = keras.Input((32, 32, 3))
    logits = keras.layers.Dense(num_classes)(keras.layers.Flatten()(x))
    return keras.Model(x, [logits, logits])
def soft(num_classes):
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(num_classes, "softmax")])
def softer(num_classes):
    x = keras.Input((32, 32, 3))
    logits = keras.layers.Dense(num_classes)(keras.layers.Flatten()(x))
    return keras.Model(x, keras.layers.Softmax()(logits))
def nested(num_classes):
    return keras.Sequential([keras.Input((32, 32, 3)), soft(num_classes)])
def log(num_classes):
    x = keras.Input((32, 32, 3))
    shares = keras.layers.Dense(num_classes, "softmax")(keras.layers.Flatten()(x))
    return keras.Model(x, keras.ops.log(shares))
def large(num_classes):
    return keras.Sequential([keras.Input((28, 28, 3)), *build(num_classes).layers])
"""


def test_a_checkpoint_finds_layers_without_names(tmp_path):
    """Keras numbers them throughout the process, so a second model has other names."""
    first, second = (build_student("coteaching_cnn", 10, seed=seed) for seed in (0, 1))
    assert first.weights[0].path != second.weights[0].path
    step = tf.Variable(3, dtype=tf.int64)
    checkpoints.RunCheckpoint(str(tmp_path), first, {}, {"global_step": step}, 1).save()
    students.restore_student(second, checkpoints.find_latest(str(tmp_path)))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_network_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    a, b, c = (build_student("own_network:build", 7, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a.get_weights()[0], b.get_weights()[0])
    assert (a.get_weights()[0] != c.get_weights()[0]).any()
    for name, part in (
        ("own_network:wrong", "must return 7 logits"),
        ("own_network:two", "must return 7 logits"),
        (
            "own_network:large",
            r"does not take samples of shape \(32, 32, 3\), .*expected shape=.*28",
        ),
        ("own_network:none", "must return a keras.Model"),
        ("own_network:other", "cannot be imported"),
        ("os:system", "`studentnet` os:system cannot be called: "),
        ("no_such_module:build", "cannot be imported"),
    ):
        with pytest.raises(InputError, match=part):
            build_student(name, 7)
    rows = build_student("own_network:build", 7, image_shape=(5,))
    assert rows(tf.zeros((2, 5))).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "warns"),
    [("build", False), ("soft", True), ("softer", True), ("nested", True), ("log", False)],
)
def test_a_softmax_at_the_end_is_told(name, warns, tmp_path, monkeypatch, capsys):
    (tmp_path / "own_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_network", raising=False)
    build_student(f"own_network:{name}", 7)
    said = f"WARNING: `studentnet` own_network:{name} ends in a softmax; the loss takes logits."
    assert (said in capsys.readouterr().out) == warns


def test_settings_reach_normalization_inside_a_model():
    inner = normalized_network(4)
    student = keras.Sequential([keras.Input((8, 8, 3)), keras.Sequential([inner])])
    registry.set_batch_norm_decay(student, 0.5)
    registry.synchronize_batch_norm(student)
    found = [layer for layer in inner.layers if hasattr(layer, "synchronized")]
    assert [(layer.decay, layer.synchronized) for layer in found] == [(0.5, True)] * 2


def test_units_add_their_input():
    """With branches that are 0, only the first convolution and the last layer are left."""
    x = tf.random.stateless_normal((2, 8, 8, 3), (0, 0))
    model = build_student("resnet8", 10, image_shape=(8, 8, 3))
    for variable in model.weights:
        if variable.path.endswith(".2.norm/gamma"):
            variable.assign(np.zeros(variable.shape))
    first = keras.Model(model.input, model.get_layer("initial.norm").output)(x).numpy()
    means = np.pad(np.maximum(first, 0)[:, ::4, ::4].mean((1, 2)), [(0, 0), (24, 24)])
    expected = model.get_layer("logits")(means)
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)
    model = preactivation._build("p", 4, (4,), 2, 10, 0, (8, 8, 3))
    conv, *others = [each for each in model.layers if isinstance(each, keras.layers.Conv2D)]
    for layer in others:
        layer.kernel.assign(np.zeros(layer.kernel.shape))
    means = np.maximum(conv(x).numpy() / np.sqrt(1.001), 0).mean((1, 2))
    np.testing.assert_allclose(model(x), model.layers[-1](means), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "sizes", "activations"),
    [
        ("resnet8", {32: 3, 16: 2, 8: 2}, 7),
        ("preact_resnet18", {32: 5, 16: 5, 8: 5, 4: 5}, 17),
        ("coteaching_cnn", {32: 3, 16: 3, 6: 1, 4: 1, 2: 1}, 9),
    ],
)
def test_sizes_inside_the_networks(name, sizes, activations):
    found = build_student(name, 10).layers
    kinds = keras.layers.ReLU, keras.layers.LeakyReLU
    assert sum(isinstance(layer, kinds) for layer in found) == activations
    convolutions = [layer for layer in found if isinstance(layer, keras.layers.Conv2D)]
    assert Counter(layer.output.shape[1] for layer in convolutions) == sizes


def test_rates_of_dropout_and_slopes():
    models = [build_student(name, 10) for name in ("inception", "coteaching_cnn")]
    rates = [
        [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
        for model in models
    ]
    assert rates == [[0.2], [0.25, 0.25]]
    leaky = [each for each in models[1].layers if isinstance(each, keras.layers.LeakyReLU)]
    assert {each.negative_slope for each in leaky} == {0.01}


@pytest.mark.parametrize("name", [n for n in STUDENTS.names() if not n.startswith("airbench")])
def test_other_students_are_trained_plainly(name):
    recipe = registry.find_student(name).recipe
    assert (recipe.flip, recipe.cutout, recipe.standardization) == ("random", 0, "image")
    assert not recipe.test_time_augmentation and recipe.decayed == {"kernel": 1}
    assert not recipe.rate_follows_batch and not recipe.frozen_after
    assert (recipe.shift_rate_factor, recipe.label_smoothing, recipe.lookahead_steps) == (1, 0, 0)


@pytest.mark.parametrize(
    "build",
    [
        lambda seed: coteaching_cnn.build(10, seed, (28, 28, 3)),
        lambda seed: mlp._build(10, seed, (256,)),
        lambda seed: preactivation._build("p", 8, (8, 16), 2, 10, seed, (8, 8, 3)),
        lambda seed: build_student("resnet8", 10, seed, (8, 8, 3)),
        lambda seed: resnet101.build(10, seed, (8, 8, 3)),
    ],
    ids=["coteaching_cnn", "mlp", "preactivation", "resnet8", "resnet101"],
)
def test_each_kernel_begins_with_values_of_its_own(monkeypatch, build):
    """Other ones for each seed; of networks that are made smaller."""
    monkeypatch.setattr(coteaching_cnn, "_BLOCKS", ((8, 8), (8, 8), (8,)))
    monkeypatch.setattr(resnet101, "_UNITS_PER_STAGE", 2)
    monkeypatch.setattr(resnet101, "_STAGES", ((16, 1), (20, 2)))
    models = [build(seed) for seed in (0, 0, 1)]
    first, same, other = (
        [v.numpy().tobytes() for v in model.trainable_variables if v.name == "kernel"]
        for model in models
    )
    assert first == same and len(first) > 2
    assert len({*first, *other}) == 2 * len(first)


def test_students_that_do_not_fit(inception):
    with pytest.raises(InputError, match="`num_classes` must be at least 2. Received: num_c.*=1"):
        build_student("inception", 1)
    with pytest.raises(InputError, match="`batch_norm_decay` needs a student with batch normal"):
        registry.set_batch_norm_decay(inception, 0.5)
    with pytest.raises(
        InputError, match=r"helpers:small_student does not take .* \(8, 8, 3\), .*: "
    ):
        build_student("helpers:small_student", 10, image_shape=(8, 8, 3))


def test_dropout_follows_pooling(monkeypatch):
    monkeypatch.setattr(coteaching_cnn, "_BLOCKS", ((2,), (2,), (2,)))
    layers = coteaching_cnn.build(3, 0, (28, 28, 3)).layers
    found = [each.output.shape[1] for each in layers if isinstance(each, keras.layers.Dropout)]
    assert found == [14, 7]


@pytest.mark.parametrize(
    ("build", "number"),
    [
        (lambda: coteaching_cnn.build(3, 0, (28, 28, 3)), 4),
        (lambda: mlp._build(3, 0, (4,)), 3),
        (lambda: preactivation._build("p", 4, (4, 8), 1, 3, 0, (8, 8, 3)), 7),
        (lambda: build_student("resnet8", 3, image_shape=(8, 8, 3)), 8),
    ],
    ids=["coteaching_cnn", "mlp", "preactivation", "resnet8"],
)
def test_kernels_begin_as_he_et_al_draw_them(monkeypatch, build, number):
    """Normal, of the variance 2 / inputs."""
    monkeypatch.setattr(coteaching_cnn, "_BLOCKS", ((2,), (2,), (2,)))
    found = [each.kernel_initializer for each in build().layers if hasattr(each, "kernel")]
    assert [type(each) for each in found] == number * [keras.initializers.HeNormal]


def test_a_checkpoint_of_another_network_is_not_taken(tmp_path):
    """As of a network of the user's own whose code has changed."""
    step = tf.Variable(1, dtype=tf.int64)

    def network(name):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name=name)])

    def opened(name):
        state = {"global_step": step}
        return checkpoints.RunCheckpoint(str(tmp_path), network(name), {}, state, 1)

    opened("one").save()
    with pytest.raises(AssertionError):
        students.restore_student(network("two"), checkpoints.find_latest(str(tmp_path)))
    with pytest.raises(InputError, match="No checkpoint in .* can be read"):
        opened("two").restore_latest()


def test_parts_of_a_network_with_layers_of_the_same_names():
    """As two networks of keras.applications have; each variable is saved."""

    def part():
        x = keras.Input((3,))
        return keras.Model(x, keras.layers.Dense(2, name="fc")(x))

    x = keras.Input((3,))
    model = keras.Model(x, part()(x) + part()(x))
    found = checkpoints.variables_of(model)
    assert list(found) == ["fc/kernel", "fc/bias", "fc/kernel~2", "fc/bias~2"]
    assert [id(value) for value in found.values()] == [id(each.value) for each in model.weights]


def test_a_network_of_ones_own_leaves_the_callers_generators_as_they_were(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "with_luck.py").write_text(
        "import keras, numpy\n"
        "def build(classes):\n"
        "    bias = keras.initializers.Constant(numpy.random.random())\n"
        "    dense = keras.layers.Dense(classes, bias_initializer=bias)\n"
        "    return keras.Sequential([keras.layers.Flatten(), dense])\n"
    )
    np.random.seed(7)
    random.seed(7)
    expected = np.random.random(), random.random()
    np.random.seed(7)
    random.seed(7)
    first, second, third = (build_student("with_luck:build", 2, seed=s) for s in (1, 1, 2))
    assert (np.random.random(), random.random()) == expected
    (_, one), (_, two), (_, three) = (each.get_weights() for each in (first, second, third))
    assert (one == two).all() and (one != three).all()


def test_moving_averages_are_of_all_replicas(monkeypatch):
    """The other replica's mean is 4, its variance 9; this one's 2 and 1."""
    layer = BatchNormalization(debias=False)
    layer.build((None, 1, 1, 1))
    monkeypatch.setattr("mentornet.core.replicas.number", lambda: 2)
    monkeypatch.setattr("mentornet.core.replicas.total", lambda own: own + [[4.0], [9.0]])
    layer(tf.constant([1.0, 3.0])[:, None, None, None], training=True)
    np.testing.assert_allclose(layer.moving_mean, [0.1 * 3], rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, [0.9 + 0.1 * 5], rtol=1e-5)


@pytest.mark.parametrize("scale", [True, False])
def test_synchronised_statistics_by_hand(monkeypatch, scale):
    """Of 1 and 3 here, and of 4 and 8 in the other replica: mean 4, variance 6.5."""
    layer = BatchNormalization(debias=False, scale=scale, dtype="mixed_float16")
    layer.build((None, 1, 1, 1))
    layer.synchronized, others = True, iter((6.0, 8.0))  # Mean; mean square distance from 4.
    monkeypatch.setattr("mentornet.core.replicas.number", lambda: 2)
    monkeypatch.setattr("mentornet.core.replicas.total", lambda own: own + next(others))
    outputs = layer(tf.constant([1.0, 3.0], tf.float16)[:, None, None, None], training=True)
    assert outputs.dtype == tf.float16
    np.testing.assert_allclose(np.ravel(outputs), np.array([-3, -1]) / np.sqrt(6.501), rtol=1e-3)
    np.testing.assert_allclose(layer.moving_mean, [0.1 * 4], rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, [0.9 + 0.1 * 6.5], rtol=1e-5)


def test_a_pre_activation_network_by_hand():
    """One unit that keeps its width, one that changes it."""
    model = preactivation._build("p", 4, (4, 8), 1, 3, 0, (8, 8, 3))
    generator = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("beta", "moving_mean"):
            variable.assign(generator.normal(size=variable.shape))
    convs = [each for each in model.layers if isinstance(each, keras.layers.Conv2D)]
    first, a1, b1, a2, b2 = (each for each in convs if each.kernel_size == (3, 3))
    (shortcut,) = (each for each in convs if each.kernel_size == (1, 1))
    norms = [each for each in model.layers if isinstance(each, BatchNormalization)]
    n1, n2, n3, n4, n5 = (lambda x, norm=norm: tf.nn.relu(norm(x)) for norm in norms)
    x = tf.random.stateless_normal((2, 8, 8, 3), (0, 0))
    h = first(x)
    h = h + b1(n2(a1(n1(h))))
    y = n3(h)
    h = shortcut(y) + b2(n4(a2(y)))
    expected = model.layers[-1](tf.reduce_mean(n5(h), (1, 2)))
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)


def test_coteaching_cnn_by_hand(monkeypatch):
    monkeypatch.setattr(coteaching_cnn, "_BLOCKS", ((2,), (3,), (4,)))
    model, generator = coteaching_cnn.build(3, 0, (28, 28, 3)), np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("beta", "moving_mean"):
            variable.assign(generator.normal(size=variable.shape))
    convs = [each for each in model.layers if isinstance(each, keras.layers.Conv2D)]
    norms = [each for each in model.layers if isinstance(each, BatchNormalization)]
    x = y = tf.random.stateless_normal((2, 28, 28, 3), (0, 0))
    for number, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
        y = tf.nn.leaky_relu(norm(conv(y)), 0.01)
        y = tf.nn.max_pool2d(y, 2, 2, "VALID") if number < 2 else y
    expected = model.layers[-1](tf.reduce_mean(y, (1, 2)))
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)


def test_dropout_follows_the_first_dense_layer(inception):
    (layer,) = (each for each in inception.layers if isinstance(each, keras.layers.Dropout))
    assert layer.input is inception.get_layer("fc3").output


def test_the_type_that_a_student_computes_in_is_its_own():
    student = build_student("mlp", 2, image_shape=(3,), dtype_policy="mixed_bfloat16")
    assert student.get_layer("logits").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
