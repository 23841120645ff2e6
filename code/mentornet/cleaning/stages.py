"""Finds the wrong labels of data: the stages of `mentornet clean`."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import math
import os
import pathlib
import shlex
from collections.abc import Sequence
from typing import Any

from mentornet.cleaning import label_errors, label_files, planning
from mentornet.cleaning.label_errors import LabelScores
from mentornet.config import options
from mentornet.config.cleaning import INCLUDED, NUM_SHOWN, OWN, CleanConfig
from mentornet.config.evaluation import EvalConfig
from mentornet.config.flag_lines import flag_lines
from mentornet.config.training import TrainConfig
from mentornet.core import files
from mentornet.core.errors import InputError, check
from mentornet.datasets import correct, prepare, sources, summaries
from mentornet.datasets.catalog import read_manifest
from mentornet.datasets.corrections import SCORE_DECIMALS
from mentornet.datasets.prepare_config import PrepareConfig
from mentornet.evaluation import export, job
from mentornet.runs import layout, run_folder
from mentornet.students import registry
from mentornet.training import loop

_HELD_OUT = 0.1
_UNEXPLAINED = 0.15  # Share of held-out labels, contradicted beyond those estimated wrong, to warn.
_SETTINGS_FILE, _SUMMARY_FILE, _FLAGS_FILE = "clean.json", "summary.txt", "train.flags"
# Of the source, and of the names and sizes of the images that a table names.
_CHECKSUMS = ("sha256", "named")
_CORRECTED, _EXPORTED = "corrected", "model.keras"


def train(config: TrainConfig) -> None:
    """Trains to the end; a signal that stops it stops all stages.

    Raises:
      KeyboardInterrupt: it did; what was trained is saved.
      InputError: as `loop.train`.
    """
    if loop.train(config) < config.max_number_of_steps:
        raise KeyboardInterrupt


def clean(source: str, config: CleanConfig) -> str:
    """Runs all stages into config.output_dir; returns the summary, which is printed, too.

    Raises:
      KeyboardInterrupt: a signal stopped it; calling it again resumes.
      InputError: the data cannot be used, the folder holds the results of other data or settings,
        or another process works there.
    """
    folder = pathlib.Path(config.output_dir)
    asked = _asked(source, config)
    _check_same(folder, asked)
    if config.studentnet is not None:
        registry.find_student(config.studentnet)
    _say(1, f"Reading {source}")
    data = _prepared(source, folder, config)
    with files.held(folder, "output_dir"):
        _check_same(folder, asked)  # Another process may have begun meanwhile.
        files.write_json(folder / _SETTINGS_FILE, asked)
        run = planning.train_config(data, folder / layout.TRAIN_FOLDER, config)
        steps = f"{run.max_number_of_steps} steps of {run.batch_size}"
        _say(2, f"Training {run.studentnet}, {steps}; Ctrl-C saves, the same command resumes")
        _write_flags(run, folder)
        train(run)
        _say(3, "Evaluating on the held-out labels")
        accuracy = _evaluate(data, folder)
        _say(4, "Ranking the labels")
        scores = label_errors.score_labels([str(folder)])
        for note in scores.notes:
            print(note, flush=True)
        label_files.write(scores, folder, NUM_SHOWN)
        _say(5, "Proposing corrections, exporting the student")
        facts = _correct(data, folder, scores)
        trained = export.load_trained(run.train_log_dir)
        export.export(trained, str(folder / _EXPORTED), "keras")
        summary = _summary(data, folder, scores, accuracy, facts)
        files.write_text(folder / _SUMMARY_FILE, summary)
    print(f"\n{summary}", end="", flush=True)
    return summary


def _say(stage: int, text: str) -> None:
    print(f"[{stage}/5] {text}.", flush=True)


def _asked(source: str, config: CleanConfig) -> dict[str, Any]:
    """The settings and the checksum that determine the results, as JSON values.

    Raises:
      InputError: the source does not exist, or is of no known kind.
    """
    asked = dataclasses.asdict(config) | {"source": source}
    output = pathlib.Path(asked.pop("output_dir")).resolve()
    if source == INCLUDED:
        return asked
    reader, location = sources.find_reader(OWN, source)
    if reader.takes is None:  # What other programs provide, under names that are no paths.
        return asked
    path = pathlib.Path(location).resolve()
    asked["source"] = f"{source.removesuffix(location)}{path}"
    is_within = path in output.parents  # Results among the images are no images.
    listed = (file for file in sorted(reader.files(path)) if file.is_file())
    named = [file for file in listed if not (is_within and output in file.parents)]
    listing = [(str(file), file.stat().st_size) for file in named]
    digest = hashlib.sha256(repr(listing).encode())
    if path.is_dir():
        for file in named:
            if file.stem == "metadata":  # It holds the labels.
                digest.update(file.read_bytes())
        return asked | {"sha256": digest.hexdigest()}
    with contextlib.suppress(OSError):
        asked["sha256"] = files.sha256(path)
    return asked | ({"named": digest.hexdigest()} if named else {})


def _check_same(folder: pathlib.Path, asked: dict[str, Any]) -> None:
    """Raises InputError if the folder holds the results of other data or settings."""
    path = folder / _SETTINGS_FILE
    if not path.exists():
        return
    try:
        old = files.read_json_object(path, "holds no settings")
    except InputError:
        old = {}
    # Before a training saved anything, another one may be asked for.
    is_free = run_folder.has_no_checkpoint(folder / layout.TRAIN_FOLDER)
    ignored = {*_CHECKSUMS, *(("studentnet", "num_epochs") if is_free else ())}
    different = options.differences(options.filled(CleanConfig, old), asked, frozenset(ignored))
    # Earlier versions recorded fewer checksums.
    if any(name in old and old[name] != asked.get(name) for name in _CHECKSUMS):
        different.append("the source has changed")
    rule = f"`output_dir` holds other results ({'; '.join(different)}); choose another folder."
    check(not different, rule, output_dir=str(folder))


def _prepared(source: str, folder: pathlib.Path, config: CleanConfig) -> planning.Data:
    """The records in `folder`, made of the source unless they are there already."""
    is_own = source != INCLUDED
    name = OWN if is_own else INCLUDED
    asked = PrepareConfig(
        name,
        str(folder / "data"),
        source,
        image_size=config.image_size,
        test_share=_HELD_OUT if is_own else PrepareConfig.test_share,
        skip_bad=config.skip_bad,
        label_column=config.label_column,
        seed=config.seed,
    )
    data = planning.Data(name, asked.train_folder, asked.test_folder)
    if not all(map(os.path.exists, (folder / _SETTINGS_FILE, data.train, data.test))):
        summaries.print_manifests(prepare.prepare(asked))
    return data


def _write_flags(run: TrainConfig, folder: pathlib.Path) -> None:
    """The run as a file for `mentornet train --flagfile`, without its folders."""
    lines = flag_lines(run)
    text = "".join(f"{x}\n" for x in lines if not x.startswith(("--data_dir=", "--train_log_dir=")))
    files.write_text(folder / _FLAGS_FILE, text)


def _evaluate(data: planning.Data, folder: pathlib.Path) -> float:
    """Share of the held-out labels that the student predicts."""
    folders = str(folder / layout.TRAIN_FOLDER), str(folder / layout.EVAL_FOLDER), str(data.test)
    asked = EvalConfig(*folders, batch_size=100, run_once=True)
    with contextlib.redirect_stdout(io.StringIO()):  # Its table of classes; summary.json has it.
        return job.run(asked)["last_accuracy"]


def _correct(data: planning.Data, folder: pathlib.Path, scores: LabelScores) -> dict[str, Any]:
    """Makes the corrected records; returns what their manifest says of the corrections."""
    rest = scores.order[len(scores.suspects) :]
    accept_above = float(scores.score[rest[0]]) if len(rest) else 0.0  # Only the suspects.
    asked = correct.CorrectConfig(
        str(data.train),
        str(folder / layout.LABELS_FILE),
        str(folder / _CORRECTED),
        round(accept_above, SCORE_DECIMALS),
        data.name,
    )
    return correct.correct(asked)["corrections"]


def _doubts(
    accuracy: float, held_out: Sequence[int], most_wrong: float, lost: Sequence[str]
) -> list[str]:
    """Lines that say what not to trust.

    Args:
      accuracy: share of the held-out labels that the student predicts.
      held_out: the number of held-out labels of each class.
      most_wrong: the upper end of the estimated share of wrong labels.
      lost: classes whose labels were left as they are.
    """
    size, lines = sum(held_out), []
    share = max(held_out) / size  # What always naming the most frequent class would reach.
    if accuracy <= share + 2 * math.sqrt(share * (1 - share) / size):
        lines.append(
            f"WARNING: the most frequent class alone has {share:.1%} of them, so it is doubtful "
            "that the student has learned anything: look before you trust its suspects, or try "
            "more --num_epochs or another --studentnet."
        )
    elif 1 - accuracy > most_wrong + _UNEXPLAINED:
        lines.append(
            f"WARNING: the student contradicts {1 - accuracy:.1%} of them, far more than are "
            "estimated to be wrong: the data are hard for it, or it has memorised wrong labels, "
            "and the estimate is too low. Look at more samples than the suspects; fewer "
            "--num_epochs may help."
        )
    if lost:
        lines.append(
            f"WARNING: the student does not know {', '.join(lost)}; the labels of such a class are "
            "not corrected. Review them."
        )
    return lines


def _shown(num_suspects: int, folder: str) -> str:
    """How many suspects the page shows, and how to see the others."""
    if not num_suspects:
        return "what looks worst (there are no suspects)"
    if num_suspects <= NUM_SHOWN:
        return "the suspects"
    more = f"mentornet report {folder} --num_shown={num_suspects}"
    return f"{NUM_SHOWN} of the {num_suspects} suspects (all of them: {more})"


def _summary(
    data: planning.Data,
    folder: pathlib.Path,
    scores: LabelScores,
    accuracy: float,
    facts: dict[str, Any],
) -> str:
    """About ten lines for a person."""
    held_out = read_manifest(data.test) or {}
    count, test = len(scores.score), held_out["num_examples"]
    target = os.fspath(folder)
    quoted, records = shlex.quote(target), shlex.quote(os.fspath(data.train))
    lines = [
        f"{count} samples of {scores.info.num_classes} classes; {test} more were held out.",
        f"Labels estimated wrong: {scores.noise}, from {scores.noise.source}.",
        label_files.worst_classes(scores),
        f"Agreement with the held-out labels: {accuracy:.1%}. They are as noisy as the others, "
        "unless clean ones are known.",
        *_doubts(
            accuracy,
            held_out["examples_per_label"],
            scores.noise.high,
            facts.get("classes_not_corrected", []),
        ),
        f"  {target}/{layout.LABELS_FILE}: every sample, the most suspicious first",
        f"  {target}/{layout.LABELS_PAGE}: review {_shown(len(scores.suspects), quoted)} in a "
        "browser",
        f"  {target}/{_CORRECTED}: records in which {facts['replaced']} suspects have the "
        "predicted labels",
        f"  {target}/{_EXPORTED}: the student",
        f"Next: open {layout.LABELS_PAGE}, decide, save corrections.csv; correct, and train again:",
        f"  mentornet correct --records={records} --corrections=corrections.csv "
        f"--output_dir={quoted}/reviewed",
        f"  mentornet train --flagfile={quoted}/{_FLAGS_FILE} --data_dir={quoted}/reviewed "
        f"--train_log_dir={quoted}/again/{layout.TRAIN_FOLDER}",
    ]
    return "\n".join(lines) + "\n"
