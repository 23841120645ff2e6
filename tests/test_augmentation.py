"""Augmentation of training and test images against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from mentornet import InputError
from mentornet.datasets import augmentation, pipeline
from mentornet.datasets.augmentation import Augmentation, Augmenter
from mentornet.datasets.records import Examples
from mentornet.evaluation.predictor import Predictor


def examples(count=10, size=8):
    """Images whose first pixel is their position and whose last pixel is 100."""
    images = np.random.default_rng(0).integers(100, 250, (count, size, size, 3), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, -1] = np.arange(count)[:, None], 255
    labels, unknown = np.zeros(count, np.int64), np.full(count, -1)
    ids = np.arange(count)
    return Examples(tf.constant(images), (size, size, 3), labels, unknown, ids, unknown == 1)


@pytest.fixture(params=["eager", "mapped"])
def apply(request):
    """Applies an operation to tensors, directly or in an input pipeline."""

    def applied(operation, *tensors):
        if request.param == "eager":
            return operation(*tensors)
        return next(iter(tf.data.Dataset.from_tensors(tensors).map(operation)))

    return applied


def batches(given, asked, first_step=0, last_step=20, batch_size=4, **settings):
    found = pipeline.training_batches(
        given,
        batch_size=batch_size,
        seed=3,
        first_step=first_step,
        last_step=last_step,
        augmentation=asked,
        standardization="channel",
        **settings,
    )
    return list(found.as_numpy_iterator())


def test_reflected_crop_against_numpy(apply):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (30, 6, 7, 3), dtype=np.uint8)
    offsets = random.integers(0, 5, (30, 2))
    mirrored = random.integers(0, 2, 30) == 1
    cropped = apply(
        lambda x, at, flip: augmentation.crop_and_flip(x, at, flip, 2, "reflect"),
        tf.constant(images),
        tf.constant(offsets, tf.int32),
        tf.constant(mirrored),
    )
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)], mode="reflect")
    for image, (y, x), flip, found in zip(padded, offsets, mirrored, cropped, strict=True):
        expected = image[y : y + 6, x : x + 7]
        np.testing.assert_array_equal(found, expected[:, ::-1] if flip else expected)


def is_mirrored(batch):
    """Which images of a batch of `examples` are mirrored; neither cropped nor cut out."""
    return batch["images"][:, 0, 0, 0] > batch["images"][:, 0, -1, 0]


def test_alternating_flips_change_with_each_sample_and_pass():
    # Ten samples in batches of 4: every other batch but one straddles two passes.
    seen: dict[int, list[bool]] = {sample: [] for sample in range(10)}
    for batch in batches(examples(), Augmentation(0, flip="alternating"), last_step=20):
        for sample, flipped in zip(batch["positions"], is_mirrored(batch), strict=True):
            seen[sample].append(bool(flipped))
    assert all(len(flips) == 8 for flips in seen.values())
    first = augmentation.first_flips(10, 3).numpy().tolist()
    assert set(first) == {False, True}
    for sample, flips in seen.items():
        assert flips == [first[sample], not first[sample]] * 4


def test_alternating_flips_are_the_same_from_any_step_and_in_any_replica():
    asked = Augmentation(1, "reflect", "alternating", 3)
    whole = batches(examples(), asked)
    for batch, resumed in zip(whole[7:], batches(examples(), asked, first_step=7), strict=True):
        np.testing.assert_array_equal(batch["images"], resumed["images"])
    for replica in range(2):
        share = pipeline.Share(replica, 2)
        for batch, part in zip(whole, batches(examples(), asked, share=share), strict=True):
            rows = slice(2 * replica, 2 * replica + 2)
            np.testing.assert_array_equal(batch["images"][rows], part["images"])


def test_first_flips_are_fair_and_follow_the_seed():
    first = augmentation.first_flips(10_000, 0).numpy()
    assert 0.48 < first.mean() < 0.52
    assert (first != augmentation.first_flips(10_000, 1).numpy()).mean() > 0.4


def test_random_flips_are_unchanged_by_the_pass():
    flips = [is_mirrored(b) for b in batches(examples(), Augmentation(0), last_step=200)]
    assert 0.4 < np.mean(flips) < 0.6


def test_draws_stay_what_they_were():
    """A run that an earlier version began goes on with the same images."""
    step = tf.constant(5, tf.int64)
    drawn = augmentation.draw_flips(8, 3, step), augmentation.first_flips(8, 3)
    assert drawn[0].numpy().tolist() == [True, True, False, False, True, False, False, False]
    assert drawn[1].numpy().tolist() == [True, False, False, False, False, True, True, False]
    offsets = augmentation.draw_offsets(3, 4, 3, step)
    assert offsets.numpy().tolist() == [[4, 6], [0, 3], [6, 4]]
    corners = augmentation.draw_corners((8, 10, 3), 3, 4, 3, step)
    assert corners.numpy().tolist() == [[4, 6], [0, 0], [2, 5]]
    assert Augmentation() == Augmentation(4, "zero", "random", 0)


def test_cutout_against_numpy(apply):
    images = np.ones((3, 5, 6, 3), np.float32)
    corners = np.array([[0, 0], [2, 3], [1, 2]], np.int32)
    expected = images.copy()
    for image, (y, x) in zip(expected, corners, strict=True):
        image[y : y + 3, x : x + 3] = 0
    found = apply(lambda x, at: augmentation.cut_out(x, at, 3), images, corners)
    np.testing.assert_array_equal(found, expected)


def test_cutout_is_drawn_uniformly_within_the_image():
    corners = augmentation.draw_corners((8, 10, 3), 6000, 4, 0, tf.constant(3, tf.int64)).numpy()
    for column, bound in zip(corners.T, (5, 7), strict=True):
        counts = np.bincount(column)
        assert len(counts) == bound and counts.min() > 0.8 * 6000 / bound
    augmenter = Augmenter(Augmentation(cutout=4), 100, (8, 10, 3), 6, 0)
    blanked = augmenter.cut_out(tf.ones([6, 8, 10, 3]), tf.constant(0, tf.int64)).numpy() == 0
    np.testing.assert_array_equal(blanked.sum((1, 2, 3)), 16 * 3)


@pytest.mark.parametrize(("cutout", "padding", "mode"), [(8, 0, "zero"), (0, 8, "reflect")])
def test_images_that_are_too_small(cutout, padding, mode):
    """Which cutout would erase, and which cannot be reflected so far."""
    for side in (8, 9):
        asked = augmentation.Augmentation(padding, mode, "random", cutout)
        if side == 9:
            augmentation.Augmenter(asked, 10, (9, 12, 3), 4, 0)
        else:
            with pytest.raises(InputError, match="less than 8 pixels, the side of the images"):
                augmentation.Augmenter(asked, 10, (12, 8, 3), 4, 0)
    augmentation.Augmenter(augmentation.Augmentation(9, "zero"), 10, (8, 8, 3), 4, 0)  # Black.


def test_standardisation_of_each_image_and_of_features(apply):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    images[1] = 7
    found = apply(lambda x: augmentation.standardize(x, "image"), tf.constant(images)).numpy()
    first = images[0].astype(np.float64)
    np.testing.assert_allclose(found[0], (first - first.mean()) / first.std(), atol=1e-5)
    np.testing.assert_array_equal(found[1], 0)
    rows = tf.constant([[1.0, 2.0], [3.0, 5.0]])  # The student standardises them.
    assert augmentation.standardize(rows, "image") is rows


def test_channel_standardisation(apply):
    image = tf.constant([[[[0, 128, 255]]]], tf.uint8)
    expected = [-0.4914 / 0.2470, (128 / 255 - 0.4822) / 0.2435, (1 - 0.4465) / 0.2616]
    standardised = apply(lambda x: augmentation.standardize(x, "channel"), image)
    np.testing.assert_allclose(standardised[0, 0, 0], expected, rtol=1e-5)


class Linear:
    """Logits that depend on every pixel."""

    def __init__(self, size):
        self.factors = np.random.default_rng(1).normal(size=(size * size * 3, 2)).astype(np.float32)

    def __call__(self, images, training):
        assert not training
        return tf.reshape(images, [-1, len(self.factors)]) @ self.factors


def test_test_time_augmentation_against_numpy():
    given = examples()
    images = augmentation.standardize(given.images, "channel").numpy().astype(np.float64)
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    down, up = padded[:, :8, :8], padded[:, 2:, 2:]
    model = Linear(8)

    def both(x):
        shown = np.stack([x, x[:, :, ::-1]]).reshape(2, len(x), -1)
        return (shown @ model.factors).mean(0)

    expected = 0.5 * both(images) + 0.5 * (both(up) + both(down)) / 2
    found = Predictor(model, "channel", test_time_augmentation=True)(given, 3)
    np.testing.assert_allclose(found.logits, expected, rtol=1e-4, atol=1e-4)
    log_sum = np.log(np.exp(expected).sum(1))
    np.testing.assert_allclose(found.losses, log_sum - expected[:, 0], rtol=1e-4, atol=1e-4)
    plain = Predictor(model, "channel")(given, 3).logits
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(plain, expected, atol=0.1)
