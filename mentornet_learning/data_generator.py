"""Makes the data from which a MentorNet is learned: features and target weights v*.

A predefined curriculum:

    python mentornet_learning/data_generator.py --vstar_fn=mentornet_pd --vstar_gamma=1 \\
        --outdir=DIR

This writes DIR/tr.npz (80 %) and DIR/ts.npz (20 %), each with `features` float32 [n, 4] (loss, loss
minus moving average, label, epoch percentage), `feature_names`, and `targets` float32 [n]. The
release's names, such as vstar_mentornet_pd, are accepted as well.

A curriculum from data, dumped from a student by cifar_eval.py --output_csv_file:

    python mentornet_learning/data_generator.py --vstar_fn=data_driven \\
        --input_csv_filename=dump.csv --outdir=DIR

This writes the same two files into DIR/dump_percentile_40, ..., DIR/dump_percentile_90.
"""

from __future__ import annotations

import os

import numpy as np
from absl import flags

from mentornet.cli import script
from mentornet.core.errors import check, check_count
from mentornet.learning import curricula, training_rows

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
        "seed", 0, "Random seed for drawing rows, or for the order of those of the dump."
    )


def main() -> None:
    check_count("seed", FLAGS.seed, 0)
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
    dump = np.random.default_rng(FLAGS.seed).permutation(training_rows.read_dump(source))
    for percentile in training_rows.PERCENTILES:
        folder = os.path.join(FLAGS.outdir, training_rows.dump_folder(source, percentile))
        training_rows.write(*training_rows.data_driven(dump, percentile), folder, vstar_fn)


if __name__ == "__main__":
    define_flags()
    script.run(main)
