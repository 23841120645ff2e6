"""Statistics of weights and predictions where clean labels are known."""

from __future__ import annotations

import numpy as np

from mentornet.runs.writers import Scalars


def weight_statistics(weights: np.ndarray, labels: np.ndarray, clean_labels: np.ndarray) -> Scalars:
    """How well weights tell clean samples from corrupted ones.

    Args:
      weights: float [n].
      labels: int [n], as given.
      clean_labels: int [n], -1 where unknown.

    Returns:
      Mean weight of the clean and of the corrupted samples, and the AUC of the weight as a score
      for correctness. What cannot be computed (no corrupted sample, say) is absent.
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
    """How many labels the student predicts as given: of all samples, and of the corrupted ones.

    The second is the share that it has memorised.

    Args:
      predictions, labels: int [n].
      clean_labels: int [n], -1 where unknown.

    Returns:
      The two shares; the second is absent without a corrupted sample.
    """
    as_given = predictions == labels
    corrupted = (clean_labels >= 0) & (labels != clean_labels)
    result = {"predictions/as_given": float(as_given.mean())}
    if corrupted.any():
        result["predictions/corrupted_as_given"] = float(as_given[corrupted].mean())
    return result
