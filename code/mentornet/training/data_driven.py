"""Learns a curriculum from trusted samples, and trains a student under it: the stages.

A burn-in on the labels as given, dumps of the trusted samples' losses, learning the MentorNet,
training under it, and evaluation. Each is skipped if its result already exists.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from typing import Any

from mentornet.config.evaluation import EvalConfig
from mentornet.config.options import (
    at_least,
    check_fields,
    differences,
    increasing,
    may_change,
    option,
)
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import WeightingConfig
from mentornet.core import files, schedules
from mentornet.core.errors import check
from mentornet.learning import from_dump
from mentornet.runs import layout
from mentornet.weighting.features import check_further

# Below train_log_dir.
_EVALUATION, _MENTORNET = "eval", "mentornet"
_DUMP, _SETTINGS = "dump.csv", "settings.json"
_DUMP_OF_EPOCH = "dump_{}.csv"


class StoppedError(Exception):
    """A signal ended a training stage; its state is saved."""


@dataclasses.dataclass(frozen=True)
class LearnConfig:
    """What a MentorNet is learned from, and what its student is tested on: each field is a flag.

    Raises:
      InputError: a value lies outside its range.
    """

    dump_num_samples: int | None = option(
        None, "Size of each dump, a class-balanced subset; by default all.", check=at_least(1)
    )
    mentornet_features: tuple[str, ...] = option(
        (),
        "What the MentorNet sees of a sample besides loss and epoch, from the sample's history: "
        "{features}.",
        check=check_further,
    )
    dump_epochs: tuple[int, ...] = option(
        (),
        "Epoch percentages at which the trusted samples are dumped; the training on the labels as "
        "given goes on to the last. By default burn_in_epoch.",
        check=increasing(schedules.LAST_EPOCH),
    )
    eval_data_dir: str = option(
        "", "Folder of the test records; by default `val` next to data_dir.", may_change=True
    )

    def __post_init__(self) -> None:
        check_fields(self)
        rule = "`dump_epochs` of more than one epoch needs mentornet_features."
        known = len(self.dump_epochs) < 2 or bool(self.mentornet_features)
        check(known, rule, dump_epochs=self.dump_epochs)


def check_fits(weighting: WeightingConfig, learning: LearnConfig) -> None:
    """Raises InputError for a weighting whose MentorNet cannot be learned in these stages."""
    rule = "`auto` cannot be used with a MentorNet that is learned after a fixed burn-in."
    asked = {name: getattr(weighting, name) for name in ("loss_p_percentile", "burn_in_epoch")}
    check(not weighting.is_automatic, rule, **asked)
    assert not isinstance(weighting.burn_in_epoch, str)
    rule = "`burn_in_epoch` must be at least 1: the MentorNet is learned after it."
    check(weighting.burn_in_epoch >= 1, rule, burn_in_epoch=weighting.burn_in_epoch)
    # What is learned at some epochs does not train the embeddings of the others.
    rule = "`dump_epochs` needs fixed_epoch_after_burn_in."
    fixed = weighting.fixed_epoch_after_burn_in
    check(fixed or not learning.dump_epochs, rule, dump_epochs=learning.dump_epochs)


def burn_in(config: TrainConfig, epoch: int, folder: pathlib.Path) -> None:
    """Trains on the labels as given up to an epoch percentage of the whole training.

    Raises:
      StoppedError: a signal ended it before.
      InputError: it was trained further before, or cannot be trained.
    """
    from mentornet.training import loop

    stop = schedules.first_step_of(epoch, config.max_number_of_steps)
    stage = dataclasses.replace(config, train_log_dir=str(folder), stop_after_step=stop)
    done = loop.train(stage)
    if done < stop:
        raise StoppedError
    rule = "The burn-in is already past the epoch of a missing dump; --overwrite starts over."
    check(done == stop, rule, epoch=epoch, step=done)


def write_dump(
    config: TrainConfig, learning: LearnConfig, epochs: tuple[int, ...], root: pathlib.Path
) -> None:
    """Writes a dump for each epoch, `dump_<epoch>.csv`, and joins them in root/dump.csv.

    Raises:
      StoppedError: a signal ended the burn-in before it was complete.
    """
    from mentornet.evaluation import dump

    if (root / _DUMP).exists():
        return
    recorded = config.record_sample_weights or bool(learning.mentornet_features)
    config = dataclasses.replace(config, record_sample_weights=recorded)
    parts = []
    for epoch in epochs:
        parts.append(root / _DUMP_OF_EPOCH.format(epoch))
        if parts[-1].exists():
            continue
        burn_in(config, epoch, root / layout.BURN_IN_FOLDER)
        dump.write_losses(
            str(parts[-1]),
            checkpoint_dir=str(root / layout.BURN_IN_FOLDER),
            data_dir=config.data_dir,
            num_samples=learning.dump_num_samples,
            seed=config.seed,
            features=learning.mentornet_features,
        )
    files.write_text(root / _DUMP, "".join(part.read_text() for part in parts))


def _bind(
    root: pathlib.Path, config: TrainConfig, weighting: WeightingConfig, learning: LearnConfig
) -> None:
    """Binds a folder to the settings of its dump and MentorNet, which are reused later.

    Raises:
      InputError: the folder holds the stages of other settings.
    """
    from mentornet.runs import run_folder

    fixed = dataclasses.asdict(config) | dataclasses.asdict(learning)
    # No checksum of the data is recorded here.
    free = may_change(TrainConfig) - {"data_dir"} | may_change(LearnConfig)
    asked = {name: value for name, value in fixed.items() if name not in free}
    for name in ("loss_p_percentile", "burn_in_epoch", "fixed_epoch_after_burn_in"):
        asked[name] = getattr(weighting, name)
    asked = json.loads(json.dumps(asked))
    path = root / _SETTINGS
    # Earlier versions did not record them; nothing depends on them before a stage saves something.
    folder = root / layout.BURN_IN_FOLDER
    has_stages = any(result.exists() for result in _results(root))
    is_bound = path.exists() and (has_stages or not run_folder.has_no_checkpoint(folder))
    different = (
        differences(files.read_json_object(path, "holds no settings"), asked) if is_bound else []
    )
    rule = f"`train_log_dir` holds stages of other settings ({'; '.join(different)}); "
    rule += "choose another folder, or --overwrite to start over."
    check(not different, rule, train_log_dir=str(root))
    root.mkdir(parents=True, exist_ok=True)
    files.write_json(path, asked)


def _results(root: pathlib.Path) -> list[pathlib.Path]:
    """What the stages before the training write, and reuse: dumps, and the MentorNet's quality."""
    dumps = root.glob(_DUMP_OF_EPOCH.format("[0-9]*"))
    return [*dumps, root / _DUMP, root / _MENTORNET / from_dump.QUALITY_FILE]


def start_anew(root: pathlib.Path) -> None:
    """Removes an earlier run's results, which the stages would reuse; other files are kept.

    Raises:
      InputError: another process is using one of the folders.
    """
    with contextlib.ExitStack() as stack:
        folders = [
            root / name for name in (layout.BURN_IN_FOLDER, layout.TRAIN_FOLDER, _EVALUATION)
        ]
        for folder in folders:
            stack.enter_context(files.held(folder, "train_log_dir"))
        for folder in folders:
            layout.remove(folder)
        for path in (*_results(root), root / layout.SUMMARY_FILE, root / _SETTINGS):
            path.unlink(missing_ok=True)


def run(
    config: TrainConfig,
    weighting: WeightingConfig,
    learning: LearnConfig,
    update_epochs: tuple[int, ...] = (),
) -> dict[str, Any]:
    """Runs all stages under config.train_log_dir and writes summary.json there.

    Args:
      config: of the student's training, without a MentorNet.
      weighting: of the training under the MentorNet.
      learning: what the MentorNet is learned from, and the test records, which must be given. The
        burn-in ends at the last of `dump_epochs`.
      update_epochs: epochs at which the MentorNet is trained further, see `TrainConfig`.

    Returns:
      The summary.

    Raises:
      StoppedError: a signal ended a stage.
      InputError: as `check_fits` and the stages do.
    """
    from mentornet.evaluation import job
    from mentornet.training import distribution, loop

    check_fits(weighting, learning)
    workers = len(distribution.Cluster())
    check(workers == 1, "A MentorNet is learned on one machine: unset TF_CONFIG.", workers=workers)
    root = pathlib.Path(config.train_log_dir)
    folders = str(root / layout.TRAIN_FOLDER), str(root / _EVALUATION), learning.eval_data_dir
    evaluation = EvalConfig(*folders, batch_size=100, run_once=True)
    mentored = dataclasses.replace(  # What contradicts is refused before a stage.
        config,
        mentornet_update_epochs=update_epochs,
        train_log_dir=str(root / layout.TRAIN_FOLDER),
        trained_mentornet_dir=str(root / _MENTORNET / from_dump.name(learning.mentornet_features)),
        weighting=weighting,
        overwrite=False,
    )
    csv = root / _DUMP
    if config.overwrite:
        start_anew(root)
        config = dataclasses.replace(config, overwrite=False)  # Stages go on with what is new.
    _bind(root, config, weighting, learning)
    assert not isinstance(weighting.loss_p_percentile, str)
    assert not isinstance(weighting.burn_in_epoch, str)
    write_dump(config, learning, learning.dump_epochs or (weighting.burn_in_epoch,), root)
    percentile = 100 * weighting.loss_p_percentile
    last = schedules.LAST_EPOCH  # Of a burn-in of 100 as well.
    epoch = min(weighting.burn_in_epoch, last) if weighting.fixed_epoch_after_burn_in else None
    quality = from_dump.learn(str(csv), percentile, config.seed, root / _MENTORNET, epoch)
    if loop.train(mentored) < config.max_number_of_steps:
        raise StoppedError
    accuracy = job.run(evaluation)
    summary = {
        "csv": str(csv),
        "mentornet": mentored.trained_mentornet_dir,
        "quality": quality,
        "last_accuracy": accuracy["last_accuracy"],
        "best_accuracy": accuracy["best_accuracy"],
    }
    files.write_json(root / layout.SUMMARY_FILE, summary)
    return summary
