"""Makes the data from which a MentorNet is learned: features and target weights v*.

A predefined curriculum:

    python mentornet_learning/data_generator.py --vstar_fn=mentornet_pd --vstar_gamma=1 \\
        --outdir=DIR

This writes DIR/tr.npz (80 %) and DIR/ts.npz (20 %), each with `features` float32 [n, 4] (loss, loss
minus moving average, label, epoch percentage), `feature_names`, and `targets` float32 [n]. The
release's names, such as vstar_mentornet_pd, are accepted as well.

A curriculum from data, dumped from a student by cifar_eval.py --output_csv_file, with further
features if the dump has some:

    python mentornet_learning/data_generator.py --vstar_fn=data_driven \\
        --input_csv_filename=dump.csv --outdir=DIR

This writes the same two files into DIR/dump_percentile_40, ..., DIR/dump_percentile_90.
"""

from __future__ import annotations

import os

from absl import flags

from mentornet.cli import script
from mentornet.core.errors import check, check_count
from mentornet.core.schedules import NUM_EPOCHS
from mentornet.learning import curricula, training_rows
from mentornet.weighting.features import RELEASE

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags; called only by the script, so that it can be imported without them."""
    known = ", ".join((*curricula.CURRICULA, training_rows.DATA_DRIVEN))
    flags.DEFINE_string("outdir", "", "Folder of tr.npz and ts.npz.")
    own = "or your own, module:function (features [n, 4], gamma) -> weights [n]"
    flags.DEFINE_string("vstar_fn", "", f"One of {known}, {own}.")
    flags.DEFINE_float("vstar_gamma", None, "Parameter of the curriculum; by default its default.")
    flags.DEFINE_integer("sample_size", 100000, "Rows drawn from the grid, without replacement.")
    flags.DEFINE_string("input_csv_filename", "", "For data_driven: a student's dumped losses.")
    flags.DEFINE_integer(
        "fixed_epoch",
        None,
        "For data_driven: the epoch of all rows, for trainings with fixed_epoch_after_burn_in; by "
        "default the dump's.",
    )
    flags.DEFINE_integer(
        "seed", 0, "Random seed for drawing rows, or for ordering those of the dump."
    )


def main() -> None:
    check_count("seed", FLAGS.seed, 0)
    epoch = FLAGS.fixed_epoch
    rule = f"`fixed_epoch` must lie in 0..{NUM_EPOCHS - 1}."
    check(epoch is None or 0 <= epoch < NUM_EPOCHS, rule, fixed_epoch=epoch)
    check(bool(FLAGS.outdir), "`outdir` must name a folder.", outdir=FLAGS.outdir)
    source, vstar_fn = FLAGS.input_csv_filename, FLAGS.vstar_fn
    needed = training_rows.DATA_DRIVEN
    rule = f"`input_csv_filename` can only be used with vstar_fn={needed}, which needs it."
    fits = (vstar_fn == training_rows.DATA_DRIVEN) == bool(source)
    check(fits, rule, vstar_fn=vstar_fn, input_csv_filename=source)
    if vstar_fn != training_rows.DATA_DRIVEN:
        rows = training_rows.generate(vstar_fn, FLAGS.vstar_gamma, FLAGS.sample_size, FLAGS.seed)
        training_rows.write(*rows, FLAGS.outdir, vstar_fn, curricula.feature_names(vstar_fn))
        return
    dump = training_rows.shuffled(training_rows.read_dump(source), FLAGS.seed)
    names = (*RELEASE, *training_rows.dump_features(source))
    for percentile in training_rows.PERCENTILES:
        folder = os.path.join(FLAGS.outdir, training_rows.dump_folder(source, percentile))
        rows = training_rows.data_driven(dump, percentile, epoch)
        training_rows.write(*rows, folder, vstar_fn, names)


if __name__ == "__main__":
    define_flags()
    script.run(main)
