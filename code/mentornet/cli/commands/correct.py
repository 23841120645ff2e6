"""Makes corrected records from reviewed labels, or from a report's own suggestions.

    mentornet correct --records=data/mine/given --corrections=corrections.csv --output_dir=DIR

`mentornet prepare` does the same with these flags.
"""

from absl import flags

from mentornet.cli import config_flags, script
from mentornet.core.errors import check
from mentornet.datasets import summaries
from mentornet.datasets.correct import FLAGS_GROUP, CorrectConfig

FLAGS = flags.FLAGS


def define_flags() -> None:
    config_flags.define_flags(CorrectConfig)
    config_flags.define_flags(CorrectConfig, FLAGS_GROUP)


def main() -> None:
    values = config_flags.read_flags(CorrectConfig)
    rule = "`records`, `corrections` and `output_dir` must be given together."
    given = {name: values[name] for name in ("records", "corrections")}
    check(all(given.values()) and FLAGS["output_dir"].present, rule, **given)
    config = CorrectConfig(**values)
    script.load_tensorflow()
    from mentornet.datasets import correct

    manifest = correct.correct(config)
    summaries.print_manifest(config.output_dir, manifest)
    facts = manifest["corrections"]
    counts = "{kept} kept, {replaced} replaced, {left_out} left out, {undecided} undecided"
    before = facts["share_of_wrong_labels_before"]
    share = "" if before is None else f"; {before:.2%} of the labels were wrong before"
    print(counts.format(**facts) + share)
