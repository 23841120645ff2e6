"""How well learned weights separate clean from corrupted samples, and two simple baselines."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from mentornet.core.errors import check

if TYPE_CHECKING:
    from mentornet.learning.training_rows import Rows
    from mentornet.weighting.mentor import MentorNet


@dataclasses.dataclass(frozen=True)
class Quality:
    """Area under the ROC curve, and log loss in nats, for clean versus corrupted samples."""

    auc: float
    log_loss: float


def _quality(targets: np.ndarray, probabilities: np.ndarray, scores: np.ndarray) -> Quality:
    from sklearn import metrics

    loss = metrics.log_loss(targets, np.clip(probabilities, 1e-7, 1 - 1e-7), labels=[0, 1])
    return Quality(float(metrics.roc_auc_score(targets, scores)), float(loss))


def _loss_threshold(loss: np.ndarray, targets: np.ndarray) -> tuple[float, float, float]:
    """The most accurate threshold, and the shares of clean samples up to and above it."""
    order = np.argsort(loss)
    below = np.cumsum(targets[order])
    hits = below + np.cumsum((1 - targets[order])[::-1])[::-1] - (1 - targets[order])
    hits[:-1][np.diff(loss[order]) == 0] = -1  # No threshold lies between equal losses.
    best = int(np.argmax(hits))
    threshold = float(loss[order][best])
    under = loss <= threshold
    share_over = float(targets[~under].mean()) if (~under).any() else 0.5
    return threshold, float(targets[under].mean()), share_over


def compare(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    weights: np.ndarray,
) -> dict[str, Quality]:
    """Compares weights on held-out rows with baselines fitted to the training rows.

    Args:
      train, test: features float32 [n, 4 or more] and targets [n], 1 for clean; each must have
        both kinds.
      weights: float32 [len(test)], the MentorNet's for `test`.

    Returns:
      By name: the MentorNet; the loss alone (its log loss is that of the single most accurate
      threshold); logistic regression on all features but the label.
    """
    from sklearn import linear_model, pipeline, preprocessing

    (x_train, y_train), (x_test, y_test) = train, test
    threshold, share_under, share_over = _loss_threshold(x_train[:, 0], y_train)
    stump = np.where(x_test[:, 0] <= threshold, share_under, share_over)
    columns = [0, 1, *range(3, x_train.shape[1])]
    regression = pipeline.make_pipeline(
        preprocessing.StandardScaler(), linear_model.LogisticRegression()
    )
    regression.fit(x_train[:, columns], y_train)
    logistic = regression.predict_proba(x_test[:, columns])[:, 1]
    return {
        "MentorNet": _quality(y_test, weights, weights),
        "loss threshold": _quality(y_test, stump, -x_test[:, 0]),
        "logistic regression": _quality(y_test, logistic, logistic),
    }


def check_rows(train: Rows, test: Rows) -> None:
    """Raises InputError unless both parts hold clean and corrupted samples."""
    for name, (_, targets) in (("tr.npz", train), ("ts.npz", test)):
        rule = f"{name} must hold clean and corrupted samples: take more of them."
        check(0 < targets.sum() < len(targets), rule, clean=int(targets.sum()), rows=len(targets))


def report(mentor: MentorNet, train: Rows, test: Rows) -> dict[str, Quality]:
    """Prints how well weights separate clean from corrupted held-out samples.

    Args:
      mentor: gives the weights.
      train, test: rows that `check_rows` has accepted; the other methods learn from `train`.

    Returns:
      The quality of the MentorNet, of a threshold on the loss and of logistic regression, by name.
    """
    import tensorflow as tf

    weights = mentor.sample_weights(tf.constant(test[0])).numpy()[:, 0]
    parts = [(features, targets[:, 0]) for features, targets in (train, test)]
    print(f"On the {len(weights)} held-out rows, clean vs. corrupted:")
    results = compare(parts[0], parts[1], weights)
    for name, result in results.items():
        print(f"{name:<20} AUC {result.auc:.4f}  log loss {result.log_loss:.4f}")
    return results
