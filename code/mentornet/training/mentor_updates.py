"""Updating the MentorNet while the student trains (paper, Algorithm 1, step 6)."""

from __future__ import annotations

import numpy as np

from mentornet.config.training import TrainConfig
from mentornet.core import schedules
from mentornet.core.errors import check
from mentornet.datasets.records import Examples
from mentornet.evaluation import dump
from mentornet.evaluation.predictor import Predictor
from mentornet.learning.teaching import relearn
from mentornet.learning.training_rows import MIN_NOISY_ROWS
from mentornet.runs import layout
from mentornet.students import registry
from mentornet.training.hooks import Moment
from mentornet.training.step import Trainer
from mentornet.weighting import features
from mentornet.weighting.curriculum import CurriculumWeighting
from mentornet.weighting.mentor_checkpoints import save_mentornet


class MentorUpdates:
    """A hook that updates a run's MentorNet at the epochs given in its configuration.

    An update is a function of the student, the MentorNet and the trusted samples after a step, so
    a run resumed from a checkpoint repeats it, with the same result.

    Args:
      config: of a mentored run with `mentornet_update_epochs`.
      trainer: its student computes the losses, and its MentorNet is replaced.
      examples: the training split.
      save: whether to write each update as mentornet/mentornet-<step>.

    Raises:
      InputError: there are fewer than 5 trusted samples.
    """

    def __init__(
        self, config: TrainConfig, trainer: Trainer, examples: Examples, save: bool
    ) -> None:
        rule = f"`mentornet_update_epochs` needs trusted samples, at least {MIN_NOISY_ROWS} "
        rule += "(`mentornet prepare --num_trusted`)."
        trusted = int(examples.trusted.sum())
        check(trusted >= MIN_NOISY_ROWS, rule, trusted=trusted)
        assert isinstance(trainer.weighting, CurriculumWeighting)  # TrainConfig checks it.
        self._config, self._weighting, self._history = config, trainer.weighting, trainer.history
        self._positions = dump.choose(examples, None, config.seed)
        self._trusted = examples.take(self._positions)
        standardization = registry.find_student(config.studentnet).recipe.standardization
        self._predictor = Predictor(trainer.student, standardization)
        self._save = save
        epochs, steps = config.mentornet_update_epochs, config.max_number_of_steps
        self._steps = frozenset(schedules.first_step_of(epoch, steps) for epoch in epochs)

    def __call__(self, moment: Moment) -> None:
        if moment.step in self._steps:
            self._update(moment.step)

    def _update(self, step: int) -> None:
        weighting = self._weighting
        assert self._config.batch_size is not None
        losses = self._predictor(self._trusted, self._config.batch_size).losses
        epoch = np.full(len(losses), min(weighting.config.burn_in_epoch, schedules.LAST_EPOCH))
        columns = [self._trusted.ids, epoch, self._trusted.labels, self._trusted.clean_labels]
        columns.append(losses)
        if self._history is not None:
            past = {name: v.numpy() for name, v in self._history.read(self._positions).items()}
            names = weighting.mentor.further_features
            columns += [features.FURTHER[name].compute(past) for name in names]
        rows = np.stack(columns, axis=1).astype(np.float64)
        assert not isinstance(weighting.config.loss_p_percentile, str)  # TrainConfig checks it.
        percentile = 100 * weighting.config.loss_p_percentile
        learned = relearn(weighting.mentor, rows, percentile, self._config.seed)
        for name, variable in weighting.mentor.tf1_variables.items():
            variable.assign(learned.tf1_variables[name])
        if not self._save:
            return
        prefix = str(layout.mentornet_prefix(self._config.train_log_dir, step))
        save_mentornet(weighting.mentor, prefix)
        print(f"Step {step}: the MentorNet was updated and saved as {prefix}.", flush=True)
