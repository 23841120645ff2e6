"""The airbench students against NumPy and the published numbers."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from mentornet.core.errors import InputError
from mentornet.runs.checkpoints import variables_of
from mentornet.students import registry
from mentornet.students.batch_normalization import BatchNormalization
from mentornet.students.gelu import Gelu
from mentornet.students.networks import airbench

SMALL = airbench.Shape((16, 32, 32))  # airbench93 at a quarter of its width.
SMALL_96 = airbench.Shape((8, 12, 16), depth=3, decay=0.9)


def small(shape=SMALL, seed=0, size=32):
    return airbench.build(shape, 10, seed, (size, size, 3))


# The published count is 1,971,640, which has the whitening kernel's 288 in it.
@pytest.mark.parametrize(
    ("name", "count"),
    [("airbench93", 569_016), ("airbench94", 1_971_640), ("airbench96", 9_915_704)],
)
def test_parameters(name, count):
    model = registry.build_student(name, 10)
    trained = sum(math.prod(v.shape) for v in model.trainable_variables)
    kernel = model.get_layer("whitening").kernel
    assert trained + math.prod(kernel.shape) == count
    assert not kernel.trainable
    assert f"{trained:,} parameters" in airbench.NAMES[name]


def test_shapes_are_the_published_ones():
    model = registry.build_student("airbench94", 10)
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert shapes["whitening"] == (31, 31, 24)
    expected = {
        (0, 1): (31, 64),
        (0, 2): (15, 64),
        (1, 1): (15, 256),
        (1, 2): (7, 256),
        (2, 1): (7, 256),
        (2, 2): (3, 256),
    }
    for (group, place), (size, width) in expected.items():
        assert shapes[f"group_{group}.{place}.conv"] == (size, size, width)
    assert model.output.shape == (None, 10)


def test_whitening_against_numpy():
    """Of more images than two parts."""
    images = np.random.default_rng(0).normal(size=(250, 6, 5, 3)).astype(np.float32)
    images[..., 1] += images[..., 0]  # Correlated channels, and a mean that is not 0.
    images += 0.3
    patches = [
        image[y : y + 2, x : x + 2].reshape(12)
        for image in images
        for y in range(5)
        for x in range(4)
    ]
    x = np.array(patches, np.float64)
    values, vectors = np.linalg.eig(x.T @ x / len(x))
    kernel = airbench.whitening_kernel(images).reshape(12, 24)
    for column in kernel.T:
        # Each filter is an eigenvector of the length 1 / sqrt(eigenvalue + 5e-4).
        found = np.abs(vectors.T @ column)
        k = found.argmax()
        np.testing.assert_allclose(found[k], (values[k] + 5e-4) ** -0.5, rtol=1e-4)
        assert np.delete(found, k).max() < 1e-3
    np.testing.assert_array_equal(kernel[:, :12], -kernel[:, 12:])
    lengths = np.linalg.norm(kernel[:, :12], axis=0)
    assert (np.diff(lengths) > 0).all()  # The largest eigenvalue first, hence the shortest filter.
    # Whitened patches have second moment 1 in all directions.
    whitened = x @ kernel[:, :12]
    np.testing.assert_allclose(whitened.T @ whitened / len(x), np.eye(12), atol=5e-3)


def test_whitening_layer_is_that_convolution_and_a_trained_bias():
    images = np.random.default_rng(1).normal(size=(4, 12, 12, 3)).astype(np.float32)
    model = small(size=12)
    airbench.adapt(model, images)
    layer = model.get_layer("whitening")
    layer.bias.assign(np.arange(24))
    kernel = airbench.whitening_kernel(images)
    outputs = layer(images).numpy()
    expected = np.einsum("yxc,yxcf->f", images[2, 3:5, 7:9].astype(np.float64), kernel)
    np.testing.assert_allclose(outputs[2, 3, 7], expected + np.arange(24), rtol=1e-4, atol=1e-4)
    assert outputs.shape == (4, 11, 11, 24)


def test_convolutions_begin_as_the_identity():
    model = small(airbench.Shape((4, 6, 6)), size=12)
    kernel = model.get_layer("group_1.1.conv").kernel.numpy()
    assert kernel.shape == (3, 3, 4, 6)
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 4)).astype(np.float32)
    outputs = tf.nn.conv2d(x, kernel, 1, "SAME")
    np.testing.assert_array_equal(outputs[..., :4], x)
    others = kernel[..., 4:]
    assert np.abs(others).max() <= 1 / 6 and others.std() == pytest.approx(1 / 6 / 3**0.5, rel=0.2)
    narrower = model.get_layer("group_0.1.conv").kernel.numpy()
    expected = np.zeros((3, 3, 24, 4))
    expected[1, 1] = np.eye(24, 4)
    np.testing.assert_array_equal(narrower, expected)


def test_initial_values_follow_the_seed():
    first, same, other = (
        {name: v.numpy() for name, v in variables_of(small(seed=seed)).items()}
        for seed in (1, 1, 2)
    )
    differing = {name for name in first if (first[name] != other[name]).any()}
    assert {"logits/kernel", "group_1.1.conv/kernel"} <= differing
    for name in first:
        np.testing.assert_array_equal(first[name], same[name])


def reference(model, shape, images):
    """The network in evaluation mode, in NumPy and double precision."""
    values = {name: v.numpy().astype(np.float64) for name, v in variables_of(model).items()}
    erf = np.vectorize(math.erf)

    def gelu(x):
        return x * 0.5 * (1 + erf(x / math.sqrt(2)))

    def conv(x, kernel, pad):
        x = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
        return np.einsum("nyxcij,ijcf->nyxf", windows, kernel)

    def pool(x):
        n, h, w, c = x.shape
        x = x[:, : h // 2 * 2, : w // 2 * 2]
        return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))

    def norm(x, name):
        mean, variance = values[f"{name}.norm/moving_mean"], values[f"{name}.norm/moving_variance"]
        return (x - mean) / np.sqrt(variance + 1e-12) + values[f"{name}.norm/beta"]

    x = conv(images.astype(np.float64), values["whitening/kernel"], 0) + values["whitening/bias"]
    x = gelu(x)
    for group in range(3):
        x = pool(conv(x, values[f"group_{group}.1.conv/kernel"], 1))
        x = before = gelu(norm(x, f"group_{group}.1"))
        for place in range(2, shape.depth + 1):
            x = norm(
                conv(x, values[f"group_{group}.{place}.conv/kernel"], 1), f"group_{group}.{place}"
            )
            x = gelu(x + before if place == 3 else x)
    return x.max((1, 2)) @ values["logits/kernel"] / 9


@pytest.mark.parametrize("shape", [SMALL, SMALL_96])
def test_network_against_numpy(shape):
    random = np.random.default_rng(0)
    images = random.normal(size=(2, 32, 32, 3)).astype(np.float32)
    model = small(shape)
    airbench.adapt(model, images)
    for variable in model.variables:  # Statistics and shifts of a network that was trained.
        if variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(random.normal(size=variable.shape) * 0.2)
        if variable.name == "moving_variance":
            variable.assign(random.uniform(0.5, 2, size=variable.shape))
    logits = model(images, training=False).numpy()
    np.testing.assert_allclose(logits, reference(model, shape, images), rtol=1e-3, atol=1e-4)


def test_bfloat16_differs_by_rounding_only():
    images = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype(np.float32)
    logits = {}
    for policy in ("float32", "mixed_bfloat16"):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        model = small()
        keras.config.set_dtype_policy(before)
        airbench.adapt(model, images)
        logits[policy] = model(images, training=True).numpy()
        assert all(v.dtype == "float32" for v in model.variables)
    assert logits["mixed_bfloat16"].dtype == np.float32
    spread = logits["float32"].std()
    np.testing.assert_allclose(logits["float32"], logits["mixed_bfloat16"], atol=0.15 * spread)


def test_images_that_are_too_small():
    assert small(size=9).output.shape == (None, 10)
    with pytest.raises(InputError, match="at least 9 pixels per side"):
        small(size=8)
    for shape in ((8, 32, 3), (32, 8, 3)):
        with pytest.raises(InputError, match="at least 9 pixels per side"):
            airbench.build(SMALL, 10, 0, shape)


def test_batch_normalisation_without_scale_keeps_what_it_is_told():
    layer = BatchNormalization(decay=0.6, epsilon=1e-12, scale=False, debias=False)
    random = np.random.default_rng(0)
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = random.normal(2, 3, size=(4, 5, 5, 3))
        outputs = layer(tf.constant(x, tf.float32), training=True)
        batch_mean, batch_variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        expected = (x - batch_mean) / np.sqrt(batch_variance + 1e-12)
        np.testing.assert_allclose(outputs, expected, atol=1e-4)
        mean = 0.6 * mean + 0.4 * batch_mean
        variance = 0.6 * variance + 0.4 * batch_variance
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-4)
    assert [v.name for v in layer.trainable_variables] == ["beta"]
    copy = BatchNormalization.from_config(layer.get_config())
    assert (copy.decay, copy.epsilon, copy.scale, copy.debias) == (0.6, 1e-12, False, False)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gelu_and_its_gradient(dtype):
    x = tf.cast(np.linspace(-6, 6, 400).reshape(20, 20), dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = Gelu(dtype=dtype)(x)
        total = tf.reduce_sum(3 * y)
    exact = tf.cast(x, tf.float64).numpy()
    p = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)))(exact)
    density = np.exp(-(exact**2) / 2) / math.sqrt(2 * math.pi)
    # A rounding of the result to dtype at the most, and of the upstream gradient.
    relative = {"float32": 1e-5, "bfloat16": 2**-8}[dtype]
    assert y.dtype == dtype
    np.testing.assert_allclose(tf.cast(y, tf.float64), exact * p, rtol=relative, atol=1e-6)
    gradient = tf.cast(tape.gradient(total, x), tf.float64)
    np.testing.assert_allclose(gradient, 3 * (p + exact * density), rtol=relative, atol=1e-5)


def test_initial_values_of_the_last_layer():
    """Uniform within 1 / sqrt(32), its inputs; the first group has 16 channels."""
    kernel = small(size=12).get_layer("logits").kernel.numpy()
    limit = 32**-0.5
    assert kernel.shape == (32, 10) and np.abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / 3**0.5, rel=0.15)


def test_recipes_are_the_published_ones():
    """airbench94.py and airbench96.py: rates of the sum over 1,024 samples, divided by 7.67."""
    scale = 1 + 1 / (1 - 0.85)
    for name, rate, decay, shape, padding, cutout in (
        ("airbench93", 11.5, 0.0153, "0:0.2,0.23:1,1:0.07", 2, 0),
        ("airbench94", 11.5, 0.0153, "0:0.2,0.23:1,1:0.07", 2, 0),
        ("airbench96", 9.0, 0.012, "0:0.2,0.1:1,1:0", 4, 12),
    ):
        recipe = registry.find_student(name).recipe
        assert recipe.learning_rate == pytest.approx(rate / scale, rel=1e-3)
        assert recipe.weight_decay == pytest.approx(decay / rate)
        assert (recipe.batch_size, recipe.rate_follows_batch) == (1024, True)
        assert (recipe.momentum, recipe.nesterov, recipe.label_smoothing) == (0.85, True, 0.2)
        # The published decay of shifts is divided by their rate, which is 64 times the other's.
        assert recipe.decayed == {"kernel": 1, "bias": 1, "beta": 1 / 64}
        assert recipe.shift_rate_factor == 64 and recipe.frozen_after == {"whitening/bias": 3}
        assert (recipe.learning_rate_shape, recipe.lookahead_steps) == (shape, 5)
        assert (recipe.crop_padding, recipe.cutout) == (padding, cutout)
        assert (recipe.crop_mode, recipe.flip) == ("reflect", "alternating")
        assert (recipe.standardization, recipe.mixed_precision) == ("channel", "auto")
        assert recipe.test_time_augmentation


def test_initial_values_are_uniform_within_their_bounds():
    """1 / sqrt(9 x channels) for convolutions but their identity, 1 / sqrt(width) for the last."""
    model = small()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = layer.kernel.numpy()
            bound, drawn = 1 / np.sqrt(9 * kernel.shape[2]), kernel[..., kernel.shape[2] :]
        elif isinstance(layer, keras.layers.Dense):
            drawn = layer.kernel.numpy()
            bound = 1 / np.sqrt(len(drawn))
        else:
            continue
        if drawn.size:
            assert 0.95 * bound < np.abs(drawn).max() <= bound
            assert abs(drawn.mean()) < 0.1 * bound


def test_the_last_layer_computes_in_float32_whatever_the_policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = small(airbench.Shape((2, 2, 2)), size=9)
    keras.config.set_dtype_policy(before)
    found = [model.get_layer(name).compute_dtype for name in ("group_2.1.conv", "logits")]
    assert found == ["bfloat16", "float32"]
