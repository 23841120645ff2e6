"""Configurations of scripts: their flags, defaults and checks."""

import importlib
import math
from typing import Any

import pytest
from absl import flags
from helpers import ROOT

from mentornet import InputError
from mentornet.cli.config_flags import define_flags, read_flags
from mentornet.config import options

EVALUATE = "mentornet.cli.commands.evaluate:DumpConfig"
EXPORT = "mentornet.cli.commands.export:ExportConfig"
LEARN = "mentornet.training.data_driven:LearnConfig"
LABEL_REPORT = "mentornet.cli.commands.report:LabelReportConfig"
GENERATE = "mentornet_learning.data_generator:GenerateConfig"
TEACH = "mentornet_learning.train:TeachingConfig"
PLOT = "mentornet_learning.visualizer:PlotConfig"
LAUNCH = "launch:LaunchConfig"

# Flag -> value without arguments; what must be given is empty.
DEFAULTS: dict[str, dict[str, Any]] = {
    EVALUATE: {
        "output_csv_file": "",
        "dump_num_samples": None,
        "dump_seed": 0,
        "dump_features": (),
    },
    EXPORT: {
        "checkpoint_dir": "",
        "format": None,
        "output": "",
        "studentnet": None,
        "dataset_name": None,
        "data_dir": None,
    },
    LEARN: {
        "dump_num_samples": None,
        "mentornet_features": (),
        "dump_epochs": (),
        "eval_data_dir": "",
    },
    LABEL_REPORT: {"output_dir": "", "data_dir": "", "num_shown": 500, "label_studio_dir": ""},
    GENERATE: {
        "outdir": "",
        "vstar_fn": "",
        "vstar_gamma": None,
        "sample_size": 100_000,
        "input_csv_filename": "",
        "fixed_epoch": None,
        "seed": 0,
    },
    TEACH: {
        "train_dir": "",
        "data_path": "",
        "mini_batch_size": 512,
        "max_step_train": 3000.0,
        "learning_rate": 0.05,
        "seed": 0,
        "checkpoint_name": "mentornet",
    },
    PLOT: {
        "model_dir": "",
        "outdir": "",
        "loss_bound": 15.0,
        "epoch_ranges": (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99),
        "further_features": (),
        "vstar_fn": "",
        "vstar_gamma": None,
    },
    LAUNCH: {
        "table": "",
        "gpus": (),
        "filter": (),
        "scale": 1.0,
        "percentile": "as_written",
        "flags": "",
        "data_dir": "data",
        "runs_dir": "cifar_models",
        "dry_run": False,
    },
    "report:ReportConfig": {"output_dir": ""},
    "quickstart_report:QuickstartConfig": {"output_dir": "runs/quickstart"},
}
# A command line with everything that must be given.
GIVEN = {
    EVALUATE: "--output_csv_file=f",
    EXPORT: "--checkpoint_dir=c --format=tf1 --output=o",
    GENERATE: "--outdir=o",
    TEACH: "--train_dir=t --data_path=d",
    PLOT: "--model_dir=m",
    LAUNCH: "--table=t",
}
FROM_DUMP = "--vstar_fn=data_driven --input_csv_filename=c"


@pytest.fixture(autouse=True)
def commands(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "commands")


def find(name):
    module, _, cls = name.partition(":")
    return getattr(importlib.import_module(module), cls)


def parsed(name, line=""):
    values = flags.FlagValues()
    define_flags(find(name), flag_values=values, features="names")
    values(["script", *line.split()])
    return values


def config(name, line=""):
    """The configuration of a command line, beside what must be given."""
    values = parsed(name, f"{GIVEN.get(name, '')} {line}")
    return find(name)(**read_flags(find(name), values))


@pytest.mark.parametrize("name", DEFAULTS)
def test_flags_and_their_defaults(name):
    values = parsed(name)
    found = {field.flag: values[field.flag].value for field in options.fields(find(name))}
    found = {flag: tuple(v) if isinstance(v, list) else v for flag, v in found.items()}
    assert found == DEFAULTS[name]
    config(name)  # With what must be given, the defaults are accepted.
    for field in options.fields(find(name)):
        text = field.option.help
        assert len(text) > 12 and (text[0].isupper() or text.startswith("tf1:")), field.name
        assert text.endswith("."), field.name


@pytest.mark.parametrize(
    ("name", "line", "field", "value"),
    [
        (EVALUATE, "--dump_num_samples=1", "num_samples", 1),
        (EVALUATE, "--dump_seed=3000000000", "seed", 3_000_000_000),
        (
            EVALUATE,
            "--dump_features=wrong_share,mean_loss",
            "features",
            ("wrong_share", "mean_loss"),
        ),
        (EXPORT, "--format=onnx", "format", "onnx"),
        (EXPORT, "--format=keras", "format", "keras"),
        (EXPORT, "--format=saved_model", "format", "saved_model"),
        (LABEL_REPORT, "--num_shown=1", "num_shown", 1),
        (GENERATE, f"{FROM_DUMP} --fixed_epoch=0", "fixed_epoch", 0),
        (GENERATE, f"{FROM_DUMP} --fixed_epoch=99", "fixed_epoch", 99),
        (GENERATE, FROM_DUMP, "input_csv_filename", "c"),
        (TEACH, "--max_step_train=3e4", "max_step_train", 30_000),
        (TEACH, "--max_step_train=1", "max_step_train", 1),
        (TEACH, "--max_step_train=2147483647", "max_step_train", 2**31 - 1),
        (TEACH, "--mini_batch_size=1", "mini_batch_size", 1),
        (TEACH, "--mini_batch_size=1000000", "mini_batch_size", 1_000_000),
        (PLOT, "--epoch_ranges=99,0,7", "epoch_ranges", (99, 0, 7)),
        (PLOT, "--further_features=0.5,-2", "further_features", (0.5, -2.0)),
        (LAUNCH, "--filter=a{1,2} --filter=b", "filter", ("a{1,2}", "b")),
        (LAUNCH, "--gpus=0,2", "gpus", ("0", "2")),
        (LAUNCH, "--gpus=", "gpus", ()),
        (LAUNCH, "--percentile=release", "percentile", "release"),
        (LAUNCH, "--scale=0.01", "scale", 0.01),
    ],
)
def test_what_is_accepted(name, line, field, value):
    assert getattr(config(name, line), field) == value


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (EVALUATE, "--output_csv_file=", "`output_csv_file` must be given."),
        (EVALUATE, "--dump_num_samples=0", "`dump_num_samples` must be at least 1."),
        (EVALUATE, "--dump_seed=-1", "`dump_seed` must not be negative."),
        (EVALUATE, "--dump_features=weather", "`dump_features` must be among loss_variance, "),
        (EXPORT, "--checkpoint_dir=", "`checkpoint_dir` must be given."),
        (EXPORT, "--output=", "`output` must be given."),
        (LEARN, "--dump_num_samples=0", "`dump_num_samples` must be at least 1."),
        (LEARN, "--mentornet_features=loss", "`mentornet_features` must be among loss_variance, "),
        (LEARN, "--dump_epochs=100", "`dump_epochs` must be increasing whole numbers in 1..99."),
        (LABEL_REPORT, "--num_shown=0", "`num_shown` must be at least 1."),
        (GENERATE, "--outdir=", "`outdir` must name a folder."),
        (GENERATE, "--vstar_fn=self_paced --fixed_epoch=0", "`fixed_epoch` has no effect with"),
        (GENERATE, f"{FROM_DUMP} --vstar_gamma=1", "`vstar_gamma` has no effect with this"),
        (GENERATE, "--fixed_epoch=100", "`fixed_epoch` must lie in 0..99."),
        (GENERATE, "--fixed_epoch=-1", "`fixed_epoch` must lie in 0..99."),
        (GENERATE, "--seed=-1", "`seed` must not be negative."),
        (GENERATE, "--vstar_fn=data_driven", "`input_csv_filename` can only be used with "),
        (GENERATE, "--input_csv_filename=c", "`input_csv_filename` can only be used with "),
        (TEACH, "--train_dir=", "`train_dir` must name a folder."),
        (TEACH, "--data_path=", "`data_path` must name a folder."),
        (TEACH, "--mini_batch_size=0", "`mini_batch_size` must lie in 1..1000000."),
        (TEACH, "--mini_batch_size=1000001", "`mini_batch_size` must lie in 1..1000000."),
        (TEACH, "--max_step_train=1.5", "`max_step_train` must be a whole number of at least 1"),
        (TEACH, "--max_step_train=0", "`max_step_train` must be a whole number of at least 1"),
        (TEACH, "--max_step_train=inf", "`max_step_train` must be a whole number of at least 1"),
        (TEACH, "--max_step_train=2147483648", "`max_step_train` must be a whole number of at"),
        (TEACH, "--learning_rate=0", "`learning_rate` must be a positive number."),
        (TEACH, "--seed=-1", "`seed` must not be negative."),
        (PLOT, "--model_dir=", "`model_dir` must be given."),
        (PLOT, "--loss_bound=inf", "`loss_bound` must be a positive number."),
        (PLOT, "--epoch_ranges=", "`epoch_ranges` must be whole numbers in 0..99."),
        (PLOT, "--epoch_ranges=0,100", "`epoch_ranges` must be whole numbers in 0..99."),
        (PLOT, "--epoch_ranges=-1", "`epoch_ranges` must be whole numbers in 0..99."),
        (LAUNCH, "--table=", "`table` must be given."),
        (LAUNCH, "--filter=a --filter=(", "`filter` must hold regular expressions: missing )"),
        (LAUNCH, "--scale=0", "`scale` must be a positive number."),
    ],
)
def test_what_is_refused(name, line, message):
    with pytest.raises(InputError) as caught:
        config(name, line)
    assert str(caught.value).startswith(message)


def test_what_cannot_be_expressed_by_a_flag():
    for name, values, message in (
        (EXPORT, {"format": "pickle"}, "`format` must be one of tf1, keras, saved_model, onnx."),
        (LAUNCH, {"percentile": "p"}, "`percentile` must be one of as_written, release."),
        (TEACH, {"max_step_train": math.nan}, "`max_step_train` must be a whole number"),
    ):
        given = [part.removeprefix("--").split("=") for part in GIVEN[name].split()]
        with pytest.raises(InputError) as caught:
            find(name)(**(dict(given) | values))
        assert str(caught.value).startswith(message)


def test_formats_are_those_that_can_be_written():
    from mentornet.evaluation import export

    (choices,) = (f.option.choices for f in options.fields(find(EXPORT)) if f.name == "format")
    assert choices == tuple(export._WRITERS)


def test_where_the_test_records_lie_may_change():
    assert options.may_change(find(LEARN)) == {"eval_data_dir"}


def test_lists_of_other_numbers():
    with pytest.raises(flags.Error, match="must be numbers, separated by commas"):
        parsed(PLOT, "--further_features=1,x")
