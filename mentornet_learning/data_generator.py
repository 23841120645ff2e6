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

import dataclasses
import os

from mentornet.cli import config_flags, script
from mentornet.config.options import REQUIRED, at_least, check_fields, folder, option, within
from mentornet.core.errors import check
from mentornet.core.schedules import LAST_EPOCH
from mentornet.learning import curricula, training_rows

_KNOWN = ", ".join((*curricula.CURRICULA, training_rows.DATA_DRIVEN))


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """Which data are made: each field is a flag.

    Raises:
      InputError: a value is outside its range, or `input_csv_filename`, `fixed_epoch` or
        `vstar_gamma` does not fit `vstar_fn`.
    """

    outdir: str = option(REQUIRED, "Folder of tr.npz and ts.npz.", check=folder)
    vstar_fn: str = option(
        "",
        f"One of {_KNOWN}, or your own, module:function (features [n, 4], gamma) -> weights [n].",
    )
    vstar_gamma: float | None = option(
        None, "The curriculum's parameter; each curriculum has its own default."
    )
    sample_size: int = option(100_000, "Rows drawn from the grid, without replacement.")
    input_csv_filename: str = option("", "For data_driven: a student's dumped losses.")
    fixed_epoch: int | None = option(
        None,
        "For data_driven: the epoch of all rows, for trainings with fixed_epoch_after_burn_in; by "
        "default the dump's.",
        check=within(0, LAST_EPOCH),
    )
    seed: int = option(
        0, "Random seed for drawing rows, or for ordering those of the dump.", check=at_least(0)
    )

    def __post_init__(self) -> None:
        check_fields(self)
        needed, source = training_rows.DATA_DRIVEN, self.input_csv_filename
        rule = f"`input_csv_filename` can only be used with vstar_fn={needed}, which needs it."
        fits = (self.vstar_fn == needed) == bool(source)
        check(fits, rule, vstar_fn=self.vstar_fn, input_csv_filename=source)
        name = "vstar_gamma" if source else "fixed_epoch"
        rule = f"`{name}` has no effect with this `vstar_fn`."
        value = getattr(self, name)
        check(value is None, rule, vstar_fn=self.vstar_fn, **{name: value})


def define_flags() -> None:
    """Defines the flags; called only by the script, so that it can be imported without them."""
    config_flags.define_flags(GenerateConfig)


def main() -> None:
    config = GenerateConfig(**config_flags.read_flags(GenerateConfig))
    vstar_fn, source, seed = config.vstar_fn, config.input_csv_filename, config.seed
    if vstar_fn != training_rows.DATA_DRIVEN:
        rows = training_rows.generate(vstar_fn, config.vstar_gamma, config.sample_size, seed)
        training_rows.write(*rows, config.outdir, vstar_fn, curricula.feature_names(vstar_fn))
        return
    dump, names = training_rows.read_dump(source)
    dump = training_rows.shuffled(dump, seed)
    for percentile in training_rows.PERCENTILES:
        folder = os.path.join(config.outdir, training_rows.dump_folder(source, percentile))
        rows = training_rows.data_driven(dump, percentile, config.fixed_epoch)
        training_rows.write(*rows, folder, vstar_fn, names)


if __name__ == "__main__":
    define_flags()
    script.run(main)
