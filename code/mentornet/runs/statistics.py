"""Statistics of weights and predictions for samples with known clean labels."""

from __future__ import annotations

import numpy as np

from mentornet.runs.writers import Scalars


def weight_statistics(weights: np.ndarray, labels: np.ndarray, clean_labels: np.ndarray) -> Scalars:
    """How well weights separate clean from corrupted samples.

    Args:
      weights: float [n].
      labels: int [n], as given.
      clean_labels: int [n], -1 where unknown.

    Returns:
      Mean weights of the clean and of the corrupted samples, and the AUC of the weight as a score
      for correctness. Values that cannot be computed (without corrupted samples, for example) are
      absent.
    """
    known = clean_labels >= 0
    weights, correct = weights[known], (labels == clean_labels)[known]
    result = {}
    for name, chosen in (("clean", correct), ("corrupted", ~correct)):
        if chosen.any():
            result[f"sample_weights/mean_{name}"] = float(weights[chosen].mean())
    if len(result) == 2:
        from sklearn.metrics import roc_auc_score

        result["sample_weights/auc"] = float(roc_auc_score(correct, weights))
    return result


def prediction_statistics(
    predictions: np.ndarray, labels: np.ndarray, clean_labels: np.ndarray
) -> Scalars:
    """How often the student predicts the given label: for all and for the corrupted samples.

    The second is the share of wrong labels that it predicts as given.

    Args:
      predictions, labels: int [n].
      clean_labels: int [n], -1 where unknown.

    Returns:
      The two shares; the second is absent without corrupted samples.
    """
    as_given = predictions == labels
    corrupted = (clean_labels >= 0) & (labels != clean_labels)
    result = {"predictions/as_given": float(as_given.mean())}
    if corrupted.any():
        result["predictions/corrupted_as_given"] = float(as_given[corrupted].mean())
    return result
