"""A field defines its flag, and whether a run may be continued with another value."""

import dataclasses
import json
import math
import os
import pathlib
import re
import shutil
from typing import Any

import numpy as np
import pytest
from absl import flags
from helpers import MENTORNET
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mentornet
from mentornet import InputError
from mentornet.cli import training_flags, weighting_flags
from mentornet.cli.config_flags import define_flags, read_flags
from mentornet.config import options
from mentornet.config.cleaning import CleanConfig
from mentornet.config.evaluation import EvalConfig
from mentornet.config.flag_lines import flag_lines
from mentornet.config.training import TrainConfig
from mentornet.config.weighting import MixupConfig, NamedWeighting, WeightingConfig
from mentornet.core import files
from mentornet.core.schedules import PiecewiseConstant
from mentornet.datasets.correct import CorrectConfig
from mentornet.datasets.prepare_config import PrepareConfig
from mentornet.runs import layout, run_folder, writers
from mentornet.training import recipe

CONFIGS = (
    TrainConfig,
    WeightingConfig,
    MixupConfig,
    EvalConfig,
    PrepareConfig,
    CleanConfig,
    CorrectConfig,
)
# The fields that could change on resuming before `may_change` existed, and data_dir.
MAY_CHANGE = (
    "train_log_dir num_devices cluster_timeout_secs recompute_gradients save_summaries_secs "
    "save_interval_secs save_interval_steps log_every_steps steps_per_loop max_to_keep "
    "stop_after_step overwrite data_dir"
)
DEFAULTS = {"momentum": 0.9, "weight_decay": 0.0001, "augment": False}
SCHEDULE = PiecewiseConstant((2, 3), (0.1, 0.01, 0.001))


@dataclasses.dataclass(frozen=True)
class Example:
    folder: str = options.option(options.REQUIRED, "Where {things} lie.", check=options.folder)
    size: int = options.option(3, "Of each.", check=options.at_least(1), may_change=True)
    rate: float | None = options.option(None, "A share.", check=options.below(1), flag="the_rate")
    steps: tuple[int, ...] = options.option((), "When.", check=options.increasing(99))
    kind: str = options.option("plain", "Which.", choices=("plain", "purl"))
    fast: bool = options.option(False, "Whether.", group="speed")

    def __post_init__(self) -> None:
        options.check_fields(self)


@dataclasses.dataclass(frozen=True)
class Several:
    file: str = options.option(options.REQUIRED, "What to write.")
    kind: str = options.option(options.REQUIRED, "Which.", choices=("plain", "purl"))
    names: tuple[str, ...] = options.option(("a", "b"), "Whose.", check=options.not_empty)
    patterns: tuple[str, ...] = options.option((), "Of names.", repeated=True)

    def __post_init__(self) -> None:
        options.check_fields(self)


def parsed(*arguments, cls=Example):
    values = flags.FlagValues()
    define_flags(cls, flag_values=values, things="records")
    values(["script", *arguments])
    return values


def test_flags_of_a_configuration():
    """Those that are not the default, as a command line takes them."""
    config = TrainConfig("d", "t", learning_rate_boundaries=(5, 9), augment=False)
    assert flag_lines(config) == [
        "--data_dir=d",
        "--train_log_dir=t",
        "--learning_rate_boundaries=5,9",
        "--augment=False",
    ]


def test_a_field_says_all():
    folder, size, rate, *_ = options.fields(Example)
    assert (folder.default, folder.type, folder.flag) == (options.REQUIRED, str, "folder")
    assert (size.default, size.type, size.option.help) == (3, int, "Of each.")
    assert (rate.default, rate.type, rate.flag) == (None, float, "the_rate")
    assert options.may_change(Example) == {"size"}
    text = parsed().main_module_help() + str(parsed())
    for part in ("Where records lie.", "--the_rate", "<plain|purl>", "(default: '3')", "a number"):
        assert part in text
    assert "--[no]fast" not in text  # Of another group.


def test_flags_make_the_configuration():
    values = parsed("--folder=f", "--size=5", "--the_rate=0.5", "--steps=1, 20", "--kind=purl")
    assert Example(**read_flags(Example, values)) == Example("f", 5, 0.5, (1, 20), "purl")
    assert read_flags(Example, parsed()) == {
        "folder": "",
        "size": 3,
        "rate": None,
        "steps": (),
        "kind": "plain",
    }


def test_several_values_of_a_flag():
    """Separated by commas, in quotes where they hold some; or the flag once for each."""
    for arguments, names, patterns in (
        ([], ("a", "b"), ()),
        (["--names="], (), ()),
        (["--names= c, d e,,"], ("c", "d e"), ()),
        (['--names="c,d",e', "--patterns=x{1,2}"], ("c,d", "e"), ("x{1,2}",)),
        (["--patterns=x,y", "--names=c", "--patterns="], ("c",), ("x,y", "")),
    ):
        values = parsed(*arguments, cls=Several)
        expected = {"file": "", "kind": None, "names": names, "patterns": patterns}
        assert read_flags(Several, values) == expected
    quoted = Several("f", "plain", ("c,d", "e"))
    assert flag_lines(quoted)[-1] == '--names="c,d",e'
    config = Several("f", "purl", ("c", "d"), ("x{1,2}", "y"))
    lines = flag_lines(config)
    several = ["--names=c,d", "--patterns=x{1,2}", "--patterns=y"]
    assert lines == ["--file=f", "--kind=purl", *several]
    assert Several(**read_flags(Several, parsed(*lines, cls=Several))) == config
    assert flag_lines(Several("f", "plain")) == ["--file=f", "--kind=plain"]
    with pytest.raises(flags.Error, match="comma separated list of str"):
        parsed('--names="c', cls=Several)


def test_what_must_be_given():
    for values, message in (
        ({"file": ""}, "`file` must be given. Received: file=''"),
        ({"file": None}, "`file` must be given. Received: file=None"),
        ({"kind": None}, "`kind` must be given. Received: kind=None"),
        ({"kind": ""}, "`kind` must be given. Received: kind=''"),
        ({"names": ()}, "`names` must not be empty. Received: names=()"),
    ):
        with pytest.raises(InputError) as caught:
            Several(**({"file": "f", "kind": "plain"} | values))
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folder": ""}, "`folder` must name a folder. Received: folder=''"),
        ({"size": 0}, "`size` must be at least 1. Received: size=0"),
        ({"size": 2**31}, "`size` must be below 2**31. Received: size=2147483648"),
        ({"rate": 1.0}, "`the_rate` must be at least 0 and below 1. Received: the_rate=1.0"),
        ({"rate": math.nan}, "`the_rate` must be at least 0 and below 1. Received: the_rate=nan"),
        (
            {"steps": (2, 2)},
            "`steps` must be increasing whole numbers in 1..99. Received: steps=(2, 2)",
        ),
        (
            {"steps": (5, 100)},
            "`steps` must be increasing whole numbers in 1..99. Received: steps=(5, 100)",
        ),
        (
            {"steps": (1.0, 2)},
            "`steps` must be increasing whole numbers in 1..99. Received: steps=(1.0, 2)",
        ),
        (
            {"steps": ("a",)},
            "`steps` must be increasing whole numbers in 1..99. Received: steps=('a',)",
        ),
        ({"kind": "other"}, "`kind` must be one of plain, purl. Received: kind='other'"),
    ],
)
def test_checks_name_the_flag(values, message):
    with pytest.raises(InputError) as caught:
        Example(**({"folder": "f"} | values))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("--steps=1,b", "--steps=1,b: must be whole numbers"),
        ("--size=1.5", "--size=1.5"),
        ("--kind=other", "plain|purl"),
    ],
)
def test_flags_of_another_type_are_refused(argument, part):
    with pytest.raises(flags.Error) as caught:
        parsed(argument)
    assert part in str(caught.value)


@pytest.mark.parametrize("cls", CONFIGS)
def test_every_field_has_a_help_text(cls):
    for field in options.fields(cls):
        text = field.option.help
        assert len(text) > 12 and text[0].isupper() | text.startswith(("{", "0", "rate")), (
            field.name
        )
        assert text.endswith((".", "}")), field.name


def test_what_may_change_is_said_by_each_field():
    assert options.may_change(TrainConfig) == set(MAY_CHANGE.split())


# Values of one flag by its field: a strategy for the type, or for what the check leaves of it.
BY_TYPE = {
    bool: st.booleans(),
    int: st.integers(1, 90),
    float: st.floats(0.001, 0.999),
    str: st.text(st.characters(categories=("L", "N"), include_characters="/_.-:"), min_size=1),
    tuple[int, ...]: st.lists(st.integers(1, 99), unique=True).map(lambda v: tuple(sorted(v))),
}
SPECIAL = {
    "example_dropout_rates": st.sampled_from(["0.5, 17, 0.05, 83", "0,100", "1,1,0.25,99"]),
    "learning_rate_shape": st.sampled_from(["0:0.2,0.23:1,1:0.07", "0:1"]),
}


def strategy(field):
    if field.option.choices:
        return st.sampled_from(field.option.choices)
    return SPECIAL.get(field.name, BY_TYPE.get(field.type))


def as_flag(name, value):
    if isinstance(value, bool):
        return f"--{'' if value else 'no'}{name}"
    return f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"


@st.composite
def command_lines(draw):
    given = {"data_dir": "d", "train_log_dir": "t", "trained_mentornet_dir": "m"}
    for cls in (TrainConfig, WeightingConfig, MixupConfig):
        for field in options.fields(cls):
            if not field.is_nested and draw(st.booleans()):
                given[field.flag] = draw(strategy(field))
    return given


@settings(max_examples=100, deadline=None)
@given(command_lines(), st.booleans())
def test_flags_to_json_and_back(asked, mentored):
    """The configuration has the flags' values, and config.json restores it."""
    values = flags.FlagValues()
    training_flags.define_training_flags(values)
    if mentored:
        training_flags.define_mentornet_flags(values)
    weighting_flags.define_weighting_flag("mentornet" if mentored else "uniform", values)
    asked = {name: value for name, value in asked.items() if name in values}
    values(["script", *(as_flag(*item) for item in asked.items())])
    try:
        config = training_flags.train_config(values)
    except InputError as error:
        contradictions = ("needs", "must be a multiple", "must be below", "not both")
        assert any(words in str(error) for words in contradictions)
        assume(False)
    saved = run_folder.describe(config, SCHEDULE, num_examples=3)
    restored = options.from_json(TrainConfig, json.loads(json.dumps(saved)))
    assert restored == config
    assert config.weighting is not None if mentored else config.weighting is None
    for part in (config, config.weighting, config.mixup):
        for field in options.fields(type(part)) if part is not None else ():
            if not field.is_nested and (mentored or field.name != "mentornet_update_epochs"):
                assert getattr(part, field.name) == asked.get(field.flag, field.default), field.name


def make_config(folder, **values):
    values = {"data_dir": "d", "studentnet": "resnet8", "dataset_name": "digits"} | values
    return recipe.resolve(TrainConfig(train_log_dir=str(folder), **values), DEFAULTS)


def other_value(field, value):
    """Another value of the field's type; the folder's check only compares."""
    if field.is_nested or value is None:
        return {"alpha": 1.0}
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value, 1]
    return value + (1 if isinstance(value, (int, float)) else "x")


def test_each_field_is_compared_unless_it_may_change(tmp_path):
    config = make_config(tmp_path)
    description = run_folder.describe(config, SCHEDULE)
    run_folder.open_folder(config, description, DEFAULTS)
    (tmp_path / layout.CHECKPOINT_LIST).touch()  # Without one, any run may replace it.
    for field in options.fields(TrainConfig):
        changed = description | {field.name: other_value(field, description[field.name])}
        if field.name in MAY_CHANGE.split():
            run_folder.open_folder(config, changed, DEFAULTS)
            run_folder.open_folder(config, description, DEFAULTS)
            continue
        with pytest.raises(InputError, match=f"another configuration: {field.name} was "):
            run_folder.open_folder(config, changed, DEFAULTS)
    changed = run_folder.describe(config, PiecewiseConstant((1,), (0.1, 0.01)))
    with pytest.raises(InputError, match="learning_rate_schedule was"):
        run_folder.open_folder(config, changed, DEFAULTS)


def test_null_of_an_earlier_version_is_the_default(tmp_path):
    """Its config.json has null for defaults of student or data set, and no schedule."""
    config = make_config(tmp_path)
    description = run_folder.describe(config, SCHEDULE)
    earlier = description | dict.fromkeys(DEFAULTS)
    del earlier[run_folder.SCHEDULE]
    path = tmp_path / layout.CONFIG_FILE
    path.write_text(json.dumps(earlier))
    (tmp_path / layout.CHECKPOINT_LIST).touch()
    for name, was, value in (("momentum", 0.9, 0.5), ("augment", False, True)):
        other = make_config(tmp_path, **{name: value})
        with pytest.raises(InputError, match=f"configuration: {name} was {was}, is {value}"):
            run_folder.open_folder(other, run_folder.describe(other, SCHEDULE), DEFAULTS)
    run_folder.open_folder(config, description, DEFAULTS)
    assert json.loads(path.read_text()) == description


def test_a_run_of_another_version_goes_on(tmp_path):
    """config.json names the version with which it was last started."""
    config = make_config(tmp_path)
    description = run_folder.describe(config, SCHEDULE)
    assert description["mentornet_version"] == mentornet.__version__
    path = tmp_path / layout.CONFIG_FILE
    path.write_text(json.dumps(description | {"mentornet_version": "0.2.0"}))
    (tmp_path / layout.CHECKPOINT_LIST).touch()
    run_folder.open_folder(config, description, DEFAULTS)
    assert json.loads(path.read_text()) == description


def test_resolved_settings_are_written_down():
    config = TrainConfig("d", "t", studentnet="inception", weight_decay=0.25)
    resolved = recipe.resolve(config, recipe.defaults(config, augment=True))
    # Kept from the release: inception has no momentum; given values are kept.
    assert (resolved.momentum, resolved.weight_decay, resolved.augment) == (0.0, 0.25, True)
    saved = run_folder.describe(resolved, SCHEDULE)
    assert saved["momentum"] == 0.0
    assert saved["learning_rate_schedule"] == {"boundaries": [2, 3], "values": [0.1, 0.01, 0.001]}


def test_removing_a_run_leaves_other_files(tmp_path):
    own = [
        layout.CONFIG_FILE,
        layout.METRICS_FILE,
        "checkpoint",
        "model.ckpt-12.index",
        "model.ckpt-12.data-00000-of-00001",
        "events.out.tfevents.1.host.2.v2",
        "mentornet/checkpoint",
        "mentornet/mentornet-6.index",
        "mentornet/mentornet-6.data-00000-of-00001",
        "label_wave/checkpoint",
        "label_wave/model.ckpt-4.index",
        "model.ckpt-9_temp/part-00000-of-00001.index",
        "label_wave/model.ckpt-9_temp/part-00000-of-00001.index",
        "labels.csv",
        "labels.html",
        "eval.jsonl",
        "summary.json",
    ]
    others = ["notes.txt", "my.ckpt-1.index", "mentornets/mentornet-6.index"]
    others.append("model.ckpt-9-exported/saved_model.pb")
    for name in (*own, *others):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path, kept, ignore=shutil.ignore_patterns("kept"))
    (kept / "mentornet" / "mine").write_text("")
    layout.remove(tmp_path)
    layout.remove(kept)
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    expected = {f"kept/{name}" for name in (*others, "mentornet/mine")}
    assert left == {*others, *expected}
    assert not list(tmp_path.rglob("*_temp*"))
    assert not (tmp_path / "mentornet").exists()


def test_a_run_whose_first_save_was_killed_saved_nothing(tmp_path):
    (tmp_path / layout.CONFIG_FILE).write_text('{"max_number_of_steps": 5}')
    folder = tmp_path / "model.ckpt-9_temp"
    folder.mkdir()
    assert run_folder.has_no_checkpoint(tmp_path)
    (folder / "part-00000-of-00001.index").write_text("")
    assert run_folder.has_no_checkpoint(tmp_path)
    (tmp_path / "model.ckpt-9.index").write_text("")
    assert not run_folder.has_no_checkpoint(tmp_path)


def test_the_configuration_is_removed_last(tmp_path, monkeypatch):
    """What cannot be removed still belongs to it."""
    unlink = layout.pathlib.Path.unlink

    def fail(path):
        if path.name == layout.METRICS_FILE:
            raise PermissionError
        unlink(path)

    for name in (layout.CONFIG_FILE, layout.METRICS_FILE, "model.ckpt-1.index"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(layout.pathlib.Path, "unlink", fail)
    with pytest.raises(PermissionError):
        layout.remove(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {layout.CONFIG_FILE, layout.METRICS_FILE}


def test_dropout_rates_may_be_a_list():
    rates = [0.5] * 17 + [0.05] * 83
    config = WeightingConfig(example_dropout_rates=rates)
    assert config.example_dropout_rates == tuple(rates)
    saved = json.loads(json.dumps(dataclasses.asdict(config)))
    assert options.from_json(WeightingConfig, saved) == config
    for bad in (rates[:-1], [*rates[:-1], 1.5], [*rates[:-1], math.nan]):
        with pytest.raises(InputError, match=r"must be 100 rates in 0\.\.1.*Received: "):
            WeightingConfig(example_dropout_rates=bad)


def test_a_list_of_rates_drops_the_same_samples():
    import numpy as np
    import tensorflow as tf

    from mentornet import SampleWeighting, load_mentornet

    mentor = load_mentornet(MENTORNET)
    losses = tf.constant(np.linspace(0, 5, 40, dtype=np.float32)[:, None])
    weights = [
        SampleWeighting(mentor, example_dropout_rates=rates)(
            losses, epoch_percentage=20, global_step=7
        )
        for rates in ("0.5,17,0.25,83", [0.5] * 17 + [0.25] * 83)
    ]
    np.testing.assert_array_equal(*weights)
    assert np.sum(weights[0] == 0) == 10


def test_none_is_refused_where_it_is_not_the_default():
    assert Example("f", rate=None).rate is None
    with pytest.raises(InputError, match="`size` must be given. Received: size=None"):
        Example("f", size=None)  # type: ignore[arg-type]


def test_values_of_python_libraries_become_plain_ones():
    given: dict[str, Any] = {
        "folder": pathlib.Path("a", "b"),
        "size": np.int64(5),
        "rate": np.float32(0.5),
        "fast": np.bool_(True),
    }
    plain = Example(os.path.join("a", "b"), 5, 0.5, (1, 20), fast=True)
    steps: Any
    for steps in ([1, 20], np.array([1, 20]), [np.int64(1), 20]):
        found = dataclasses.asdict(Example(**given, steps=steps))
        assert found == dataclasses.asdict(plain)
        assert [type(value) for value in found.values()] == [str, int, float, tuple, str, bool]
        json.dumps(found)
    weighting = NamedWeighting("gce", {"q": np.float32(0.5)})
    assert json.dumps(dataclasses.asdict(weighting)) == '{"name": "gce", "options": {"q": 0.5}}'
    values: dict[str, Any]
    for values, message in (
        ({"folder": 3}, "`folder` must be a string. Received: folder=3"),
        ({"steps": 5}, "`steps` must be a list. Received: steps=5"),
        ({"steps": "5"}, "`steps` must be a list. Received: steps='5'"),
    ):
        with pytest.raises(InputError) as caught:
            Example(**({"folder": "f"} | values))
        assert str(caught.value) == message
    with pytest.raises(InputError, match="`name` must be a string. Received: name=3"):
        NamedWeighting(3)  # type: ignore[arg-type]


def test_json_may_lack_fields_or_have_unknown_ones():
    read = options.from_json
    assert read(WeightingConfig, {"burn_in_epoch": 7, "old": 1}) == WeightingConfig(burn_in_epoch=7)
    folders: dict[str, Any] = {"data_dir": "d", "train_log_dir": "t"}
    folders["trained_mentornet_dir"] = "m"
    expected: Any
    for weighting, expected in (
        ({"name": "gce"}, NamedWeighting("gce")),
        ({"loss_p_percentile": 0.5}, WeightingConfig(0.5)),
        ({"loss_p_percentile": 0.5, "old": 1}, WeightingConfig(0.5)),
        (None, None),
    ):
        config = read(TrainConfig, folders | {"weighting": weighting})
        assert config == TrainConfig(**folders, weighting=expected)


def test_other_checks_name_the_flag():
    assert Example("f", steps=(1, 99)).steps == (1, 99)
    values: Any
    for values, message in (
        ({"split_name": ""}, "`split_name` must not be empty. Received: split_name=''"),
        ({"timeout_secs": -1}, "`timeout_secs` must not be negative. Received: timeout_secs=-1"),
    ):
        with pytest.raises(InputError) as caught:
            EvalConfig("c", "e", "d", **values)
        assert str(caught.value) == message
    with pytest.raises(InputError, match="must be increasing whole numbers from 1 on. Received"):
        TrainConfig("d", "t", learning_rate_boundaries=(5, 5))


@dataclasses.dataclass(frozen=True)
class Numbers:
    share: float = options.option(0.5, "Of all.", check=options.within(0.25, 0.75))
    count: int | str = options.option(1, "How many.", words=("all",))

    def __post_init__(self) -> None:
        options.check_fields(self)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 0.2}, "`share` must lie in 0.25..0.75. Received: share=0.2"),
        ({"share": 0.8}, "`share` must lie in 0.25..0.75. Received: share=0.8"),
        ({"share": "all"}, "`share` must be a number. Received: 'all'"),
        ({"count": "none"}, "`count` must be a number or all. Received: 'none'"),
    ],
)
def test_numbers_have_bounds_and_words_are_listed(values, message):
    assert (Numbers(0.25, "all").count, Numbers(0.75, 3).share) == ("all", 0.75)
    with pytest.raises(InputError) as caught:
        Numbers(**values)
    assert str(caught.value) == message


def test_defaults_of_trainings_and_evaluations():
    """All but those of which None, by default, leaves the choice to the student or the data."""
    training = {
        "dataset_name": "cifar10",
        "studentnet": "resnet101",
        "max_number_of_steps": 39000,
        "learning_rate_decay_factor": 0.1,
        "learning_rate_boundaries": (),
        "seed": 0,
        "deterministic": True,
        "mentornet_label": "zero",
        "mentornet_update_epochs": (),
        "num_devices": 1,
        "cluster_timeout_secs": 300,
        "save_summaries_secs": 120,
        "save_interval_secs": 1200,
        "log_every_steps": 10,
        "steps_per_loop": 1,
        "max_to_keep": 10,
    }
    off = ("record_sample_weights", "jit_compile", "sync_batch_norm", "recompute_gradients")
    training |= dict.fromkeys((*off, "overwrite"), False)
    weighting = {
        "loss_p_percentile": 0.7,
        "burn_in_epoch": 0,
        "fixed_epoch_after_burn_in": False,
        "loss_moving_average_decay": 0.5,
        "example_dropout_rates": "0.5, 17, 0.05, 78, 1.0, 5",
        "class_balanced": False,
    }
    evaluation = {"split_name": "test", "batch_size": 25, "eval_interval_secs": 600.0}
    expected: dict[type, dict[str, Any]] = {
        TrainConfig: training,
        WeightingConfig: weighting,
        MixupConfig: {"second_reweight": False},
        EvalConfig: evaluation | {"run_once": False},
        CleanConfig: {"seed": 0, "skip_bad": False},
    }
    for cls, values in expected.items():
        found = {field.name: field.default for field in options.fields(cls)}
        given = {k: v for k, v in found.items() if v is not None and v is not options.REQUIRED}
        assert given == values, cls


def test_how_often_summaries_are_written(tmp_path, monkeypatch):
    asked = []

    def create(folder, flush_millis):
        asked.append((folder, flush_millis))

    monkeypatch.setattr(run_folder.writers.tf.summary, "create_file_writer", create)
    config = TrainConfig("d", str(tmp_path), save_summaries_secs=7)
    run_folder.open_writers(config, 0, 10, "pd")
    assert asked == [(str(tmp_path), 7000)]


def test_the_log_of_a_resumed_run_goes_on_at_its_step(tmp_path):
    path = tmp_path / layout.METRICS_FILE
    path.write_text("".join(f'{{"step": {step}}}\n' for step in range(1, 7)))
    opened = run_folder.open_writers(TrainConfig("d", str(tmp_path)), 4, 10, "pd")
    opened.close()
    assert [row["step"] for row in files.read_json_lines(path)] == [1, 2, 3, 4]
    (console,) = (each for each in opened._writers if isinstance(each, writers.ConsoleWriter))
    assert console._shown_step == 4


def test_names_of_classes_may_become_known_later(tmp_path):
    config = make_config(tmp_path)
    unknown = run_folder.describe(config, SCHEDULE, class_names=[], num_classes=2)
    known = unknown | {"class_names": ["cat", "dog"]}
    run_folder.open_folder(config, unknown, DEFAULTS)
    (tmp_path / layout.CHECKPOINT_LIST).touch()
    run_folder.open_folder(config, known, DEFAULTS)
    assert layout.read_config(tmp_path) == known
    with pytest.raises(InputError, match="another configuration: num_classes was 2, is 3"):
        run_folder.open_folder(config, known | {"num_classes": 3}, DEFAULTS)


def test_what_follows_from_other_settings_is_not_named(tmp_path):
    """Nor are hashes."""
    config = make_config(tmp_path)
    old = run_folder.describe(config, SCHEDULE, data_sha256="a", images_sha256="b")
    run_folder.open_folder(config, old, DEFAULTS)
    (tmp_path / layout.CHECKPOINT_LIST).touch()
    schedule: dict[str, Any] = {"learning_rate_schedule": {}}
    for other, said in (
        ({"data_sha256": "c"}, "`data_dir` holds other labels or ids"),
        ({"data_sha256": "c", "images_sha256": "c"}, "`data_dir` holds other images or features"),
        ({"seed": 7} | schedule, "seed was 0, is 7"),
        (
            {"seed": 7, "data_sha256": "c"},
            "seed was 0, is 7; `data_dir` holds other labels or ids",
        ),
        (schedule, "learning_rate_schedule was {.*}, is {}"),
    ):
        with pytest.raises(InputError, match=f"another configuration: {said}\\. Choose"):
            run_folder.open_folder(config, old | other, DEFAULTS)


def test_settings_of_another_form_are_another_configuration(tmp_path):
    config = make_config(tmp_path)
    described = run_folder.describe(config, SCHEDULE)
    run_folder.open_folder(config, described, DEFAULTS)
    (tmp_path / layout.CHECKPOINT_LIST).touch()
    file = tmp_path / "config.json"
    file.write_text(json.dumps(described | {"mixup": 0.2}))
    with pytest.raises(InputError, match="another configuration: mixup was 0.2, is None"):
        run_folder.open_folder(config, described, DEFAULTS)
    with pytest.raises(InputError, match="`mixup` must be a JSON object. Received: mixup=0.2"):
        options.from_json(TrainConfig, described | {"mixup": 0.2})


def test_settings_that_are_refused():
    names = ("cluster_timeout_secs", "log_every_steps", "max_to_keep", "save_interval_steps")
    lowest = dict.fromkeys((*names, "steps_per_loop", "stop_after_step"), 1)
    lowest |= dict.fromkeys(("lookahead_steps", "save_interval_secs", "save_summaries_secs"), 0)
    for name, bound in lowest.items():
        good: Any = {name: bound}
        bad: Any = {name: bound - 1}
        assert getattr(TrainConfig("d", "t", **good), name) == bound
        rule = "must be at least 1" if bound else "must not be negative"
        with pytest.raises(InputError, match=f"`{name}` {rule}. Received: {name}={bound - 1}"):
            TrainConfig("d", "t", **bad)
    compiled: Any = {"jit_compile": True, "deterministic": False, "mixup": MixupConfig(0.4)}
    with pytest.raises(InputError, match="`jit_compile` needs a training without mixup_alpha"):
        TrainConfig("d", "t", **compiled)
    with pytest.raises(InputError, match="`batch_size` must be at least 1"):
        EvalConfig("c", "e", "d", batch_size=0)
    with pytest.raises(InputError, match="`num_epochs` must be at least 1"):
        CleanConfig("o", num_epochs=0)
    for name in ("uniform", "mentornet"):
        with pytest.raises(InputError, match=f"`name` must not be .* Received: name='{name}'"):
            NamedWeighting(name)
    with pytest.raises(InputError) as caught:
        Example("f", kind="x" * 5000)
    assert str(caught.value).endswith(f" Received: kind='{'x' * 999}...")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"fixed_epoch_after_burn_in": "False"}, "true or false"),
        ({"fixed_epoch_after_burn_in": 2}, "true or false"),
        ({"burn_in_epoch": 18.5}, "a whole number"),
        ({"loss_moving_average_decay": (0.5,)}, "a number"),
    ],
)
def test_values_of_another_type(values, kind):
    ((name, value),) = values.items()
    message = re.escape(f"`{name}` must be {kind}. Received: {name}={value!r}")
    with pytest.raises(InputError, match=message):
        WeightingConfig(**values)
    found = WeightingConfig(burn_in_epoch=np.int64(3), loss_moving_average_decay=1)  # type: ignore
    assert (found.burn_in_epoch, found.loss_moving_average_decay) == (3, 1)


def test_options_of_a_weighting_as_people_write_them():
    values = flags.FlagValues()
    training_flags.define_training_flags(values)
    training_flags.define_mentornet_flags(values)
    weighting_flags.define_weighting_flag("self_paced", values)
    options = "--weighting_options=fixed_epoch_after_burn_in=False,burn_in_epoch=3"
    values(["script", options])
    found = weighting_flags.named(values)
    assert found is not None
    assert found.options == {"fixed_epoch_after_burn_in": False, "burn_in_epoch": 3}
    values(["script", options, "--burn_in_epoch=5"])
    with pytest.raises(InputError, match="Give --burn_in_epoch or the option burn_in_epoch"):
        weighting_flags.named(values)


@pytest.mark.parametrize("name", ["uniform", "mentornet"])
def test_weightings_that_configurations_express_differently(name):
    with pytest.raises(InputError, match="`name` must not be uniform .* Received: name="):
        NamedWeighting(name)


def test_settings_of_a_weighting():
    rates = WeightingConfig(example_dropout_rates=[0.5] * 100).example_dropout_rates
    assert rates == (0.5,) * 100 and type(rates) is tuple
    assert MixupConfig(0.4) == MixupConfig(alpha=0.4, second_reweight=False)
    for cls in (NamedWeighting, MixupConfig):
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            cls()


@pytest.mark.parametrize("flag", ["loss_p_precentile", "loss_p_percentile"])
def test_a_percentile_of_zero_is_not_taken_for_none(flag):
    values = flags.FlagValues()
    training_flags.define_mentornet_flags(values)
    values(["script", f"--{flag}=0"])
    assert training_flags.weighting_config(values).loss_p_percentile == 0


@pytest.mark.parametrize("name", ["run[1]", "a*", "b?/train", "c\\d"])
def test_folders_in_which_tensorflow_would_not_find_checkpoints(name):
    for make in (
        lambda: TrainConfig("d", name),
        lambda: EvalConfig(name, "e", "d"),
        lambda: CleanConfig(name),
    ):
        with pytest.raises(InputError, match="must not contain .* Received: "):
            make()
    TrainConfig("run[1]", "t")  # Of other files there is no pattern.


@pytest.mark.parametrize("name", ["crop_mode", "flip", "mixed_precision"])
def test_what_is_none_of_the_choices(name):
    values: Any = {name: "other"}
    with pytest.raises(InputError, match=f"`{name}` must be one of .* Received: {name}='other'"):
        TrainConfig("d", "t", **values)


def test_a_configuration_inside_another():
    for values, message in (
        ({"weighting": {"loss_p_percentile": 0.7}}, "`weighting` must be a WeightingConfig or"),
        ({"weighting": MixupConfig(1.0)}, "`weighting` must be a WeightingConfig or"),
        ({"mixup": "1"}, "`mixup` must be a MixupConfig. Received: mixup='1'"),
    ):
        with pytest.raises(InputError) as caught:
            TrainConfig("d", "t", **values)
        assert str(caught.value).startswith(message)
