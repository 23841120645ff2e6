"""What runs predict for the trusted samples: a way to compare settings without a test image.

    python benchmarks/trusted.py RUN_DIR [RUN_DIR ...]

Reads runs with --record_sample_weights. A training sees the given labels of the trusted samples; it
does not see their clean ones, unless its MentorNet was learned from them. So a student that
predicts the clean label where another one was given has not been taught to. Predictions are those
of each sample's last visit. The last two columns say which share of all correct labels a percentile
of 1 minus the estimated noise rate leaves out, as expected from the mixture and in truth.
"""

from __future__ import annotations

import numpy as np
from measuring import wrong_labels

from mentornet.cli import script
from mentornet.core import pages
from mentornet.core.errors import check

HEAD = (
    *("run", "trusted, given a wrong label", "predicted right", "of all trusted"),
    *("correct labels left out: expected", "in truth"),
)


def line(run_dir: str) -> list[str]:
    """A run's line of the table.

    Raises:
      InputError: the folder holds no run with a history, no trusted sample has a wrong label, or a
        clean label is unknown.
    """
    from mentornet.cleaning import labelled_runs
    from mentornet.label_noise import ranking

    config, columns = labelled_runs.read_run(run_dir)
    examples = labelled_runs.read_labels([config], [run_dir], None)[1]
    trusted = examples.trusted
    right = ~wrong_labels(examples, run_dir)
    wrong = trusted & ~right
    check(bool(wrong.any()), "Some trusted samples must have a wrong label.", run=run_dir)
    found = columns["prediction"] == examples.clean_labels
    visits = ranking.pooled([columns], examples.labels)
    share = visits.wrong_probabilities[0].mean()
    left_out = np.argsort(-visits.rank_score)[: round(share * len(right))]
    shares = [found[wrong].mean(), found[trusted].mean(), visits.right_left_out(share)]
    shares.append(right[left_out].sum() / right.sum())
    return [run_dir, str(wrong.sum()), *(f"{each:.1%}" for each in shares)]


def main(*run_dirs: str) -> None:
    script.load_tensorflow()
    print(pages.markdown_table(HEAD, [line(run_dir) for run_dir in run_dirs]))


if __name__ == "__main__":
    script.run(main, "RUN_DIR...")
