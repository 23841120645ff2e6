"""Registries: entries are files, read without being imported."""

import dataclasses
import importlib
import importlib.util
import json
import re
import sys
from typing import Any

import pytest
from helpers import ROOT, run

import mentornet
from mentornet import InputError
from mentornet.core.lazy import exports
from mentornet.core.registry import Registry, call_object, import_object
from mentornet.core.schedules import PiecewiseConstant
from mentornet.runs.reader import Result
from mentornet.students.networks import STUDENTS
from mentornet.students.recipes import Recipe, Student, staircase

ONE = '''"""Adds one,
and no more.

A second paragraph.
"""

entry = lambda x: x + 1
'''
SEVERAL = """
NAMES = {"times10": "Times ten.", "times9": "Times nine."}
entry = {"times9": 9, "times10": 10}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An empty package `plugins` that can be imported; the folder of its modules."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "plugins"]:
        del sys.modules[name]


def test_entries_are_files(package):
    (package / "plus_one.py").write_text(ONE)
    (package / "times.py").write_text(SEVERAL)
    (package / "_helper.py").write_text("raise ImportError")
    registry = Registry("plugins", "entry", "operation")
    assert registry.descriptions() == {
        "plus_one": "Adds one, and no more.",
        "times9": "Times nine.",
        "times10": "Times ten.",
    }
    assert registry.help().splitlines()[1] == "times9: Times nine."
    assert registry.table().splitlines()[0] == "| `plus_one` | Adds one, and no more |"
    assert registry.find("plus_one")(4) == 5
    assert registry.find("times10") == 10
    with pytest.raises(InputError, match="`operation` must be one of plus_one, times9, times10"):
        registry.find("times")
    with pytest.raises(InputError, match="times10, or a file. Received: operation='times'"):
        registry.check("times", ", or a file")


def test_reading_imports_nothing(package):
    """A module that cannot be imported is listed; looking it up raises the reason."""
    (package / "slow.py").write_text('"""Needs what is not there."""\nimport no_such_module\n')
    registry = Registry("plugins", "entry", "operation")
    assert registry.names() == ("slow",)
    assert "plugins.slow" not in sys.modules
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        registry.find("slow")


def test_a_name_is_defined_once(package):
    (package / "times.py").write_text(SEVERAL)
    (package / "times9.py").write_text(ONE)
    with pytest.raises(RuntimeError, match="times and times9 both define times9"):
        Registry("plugins", "entry", "operation").names()


def test_objects_by_module_and_name():
    assert import_object("studentnet", "textwrap:dedent")("  a") == "a"
    for reference in ("no_such_module:build", "textwrap:no_such_name", ":build"):
        with pytest.raises(InputError, match=f"`studentnet` {reference} cannot be imported"):
            import_object("studentnet", reference)
    for reference in ("./my_net.py:build", ".my_net:build", "my_net.py:build", "/my/net:build"):
        with pytest.raises(InputError, match="`studentnet` must be a module's name .* not a path"):
            import_object("studentnet", reference)


def doc_tables():
    """The script that writes the documents' tables, as a module."""
    spec = importlib.util.spec_from_file_location("doc_tables", ROOT / "commands/doc_tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_of_the_documents():
    """Each page is as `python commands/doc_tables.py` writes it, and has each table once."""
    module = doc_tables()
    texts = [page.read_text() for page in module.pages()]
    for page, text in zip(module.pages(), texts, strict=True):
        assert module.with_tables(text) == text, f"{page.name}: run commands/doc_tables.py"
    places = re.findall(r"<!-- table: (\w+) -->", "".join(texts))
    assert sorted(places) == sorted([*module.TABLES, *module.MADE])
    assert "| `pair` | A label becomes the next class |\n" in "".join(texts)
    changed = texts[0].replace("becomes the next class", "becomes another class")
    assert changed != texts[0] and module.with_tables(changed) == texts[0]
    changed = re.sub(r"(\| cifar10 \| 0.4 \| 8 \| 0.)\d+", r"\g<1>999", texts[0])
    assert changed != texts[0] and module.with_tables(changed) == texts[0]


def test_the_table_of_recipes(monkeypatch):
    module = doc_tables()
    lines = module._recipes().split("\n")
    assert len(lines) == 3 + len(STUDENTS.names())
    assert len({line.count("|") for line in lines[1:]}) == 1
    own = Recipe(
        batch_size=2048,
        learning_rate=0.25,
        momentum=0.8,
        nesterov=True,
        weight_decay=0.0123,
        crop_padding=3,
        crop_mode="reflect",
        schedule=staircase,
        mixed_precision="auto",
    )
    shaped = dataclasses.replace(
        own, rate_follows_batch=True, learning_rate_shape="0:1,1:0", nesterov=False
    )
    halves = Recipe(mentored_boundaries=(10, 2000))
    free = Recipe(
        learning_rate=0.123456, schedule=lambda config, number: PiecewiseConstant((), (1,))
    )
    recipes = {"a": own, "b": shaped, "c": halves, "d": free}

    class Students:
        names = staticmethod(recipes.keys)
        find = staticmethod(lambda name: Student(lambda: None, recipes[name]))

    monkeypatch.setattr(module, "STUDENTS", Students)
    every = "falls every 50 epochs"
    assert module._recipes().split("\n")[3:] == [
        f"| `a` | 2,048 | 0.25 | {every} | 0.8 (Nesterov) | 0.012 | 3 (reflect) | auto |",
        "| `b` | 2,048 | 0.25 per 2,048 samples | `0:1,1:0` | 0.8 | 0.012 | 3 (reflect) | auto |",
        "| `c` | 128 | 0.1 | falls at 1/2 and 3/4 of the steps; with a MentorNet at steps 10, "
        "2,000 | 0.9 | 0.0001 | 4 (zero) | float32 |",
        "| `d` | 128 | 0.123 | its own | 0.9 | 0.0001 | 4 (zero) | float32 |",
    ]


def test_the_table_of_percentiles(monkeypatch):
    module = doc_tables()

    def result(name, labels, percentile, accuracy, seed=0, steps=20):
        config: dict[str, Any] = {"data_dir": f"data/{labels}", "studentnet": "airbench93"}
        config |= {"dataset_name": "cifar10", "num_examples": 100, "seed": seed}
        config |= {"max_number_of_steps": steps, "mentornet_update_epochs": [], "batch_size": 5}
        config |= {"trained_mentornet_dir": "models/mentornet_pd"}
        config["weighting"] = percentile and {"loss_p_percentile": percentile}
        return Result(name, config, [], [{"step": steps, "eval/accuracy": accuracy}])

    unfinished = [{"step": 10, "eval/accuracy": 0.9}]
    runs = [
        dataclasses.replace(result("grid/i", "0.4", 0.2, 0.9), evaluation=unfinished),
        result("grid/a", "0.8", 0.9, 0.1),
        result("grid/b", "0.4", 0.3, 0.2),
        result("c", "0.4", 0.6, 0.3),
        result("d", "0.4", None, 0.4),
        result("e", "0.4", 0.6, 0.5, seed=1),
        result("f", "0.4", 0.7, 0.6, steps=30),
        result("g", "worse_label", 0.6, 0.7),
        result("h", "0.4", "auto", 0.8),
        result("grid/k", "0.4", 0.3, 0.9, steps=60),
    ]
    monkeypatch.setattr(module, "read_results", lambda folder: runs)
    assert module._percentiles().split("\n")[1:] == [
        "| labels | epochs | no weighting | 0.3 | 0.6 | 0.9 |",
        "| --- | --- | --- | --- | --- | --- |",
        "| 0.4 | 1 | 0.400 | 0.200 | 0.300 |  |",
        "| 0.4 | 3 |  | 0.900 |  |  |",
        "| 0.8 | 1 |  |  |  | 0.100 |",
    ]


def test_every_method_of_the_runs_has_a_column(monkeypatch):
    """Those that the script does not list come last, by name; options make no further columns."""
    module = doc_tables()

    def result(name, accuracy, run="run", **options):
        config: dict[str, Any] = {"data_dir": "data/0.4", "studentnet": "airbench93"}
        config |= {"dataset_name": "cifar10"}
        config |= {"num_examples": 100, "max_number_of_steps": 20, "batch_size": 10, "seed": 0}
        config |= {"weighting": name and {"name": name, "options": options}}
        return Result(run, config, [], [{"step": 20, "eval/accuracy": accuracy}])

    runs = [
        result("own:make", 0.5),
        result("gce", 0.6, q=0.5),
        result("self_paced", 0.7, loss_p_percentile=0.65),
        result(None, 0.8),
        result(None, 0.2, run="grid/run"),  # Has a table of its own.
    ]
    monkeypatch.setattr(module, "read_results", lambda folder: runs)
    head, _, line = module._accuracies("airbench93").split("\n")[1:]
    assert head == "| data | labels | epochs | baseline | self_paced | gce | own:make |"
    assert line == "| cifar10 | 0.4 | 2 | 0.800 | 0.700 | 0.600 | 0.500 |"


@pytest.mark.parametrize(
    ("script", "table"),
    [
        ("code/cifar_prepare_data.py", "noise_types"),
        ("code/cifar_prepare_data.py", "sources"),
        ("code/cifar_train_mentornet.py", "students"),
        ("code/cifar_train_mentornet.py", "weightings"),
    ],
)
def test_help_lists_every_entry(script, table):
    _, output = run(script, "--help")
    words = " ".join(output.split())
    for name, description in doc_tables().TABLES[table].registry.descriptions().items():
        assert f"{name}: {description}" in words


def test_cleanlab_beside_runs_of_as_many_steps(monkeypatch, tmp_path):
    """Of the folds, not of those that are each as long as the run."""
    module = doc_tables()
    ours = ("b", "40.0%", "run", 391, 0.9, 0.8)
    folds = [("b", "40.0%", "cleanlab, self_confidence", n, n / 1000, 0.5) for n in (390, 1955)]
    margins = ("b", "40.0%", "cleanlab, normalized_margin", 390, 0.6, 0.25)
    names = ("data", "wrong", "scores", "steps", "AUC", "average precision")
    rows = [dict(zip(names, row, strict=True)) for row in (ours, *folds, margins)]
    (tmp_path / "results").mkdir()
    facts = {"folds": 5, "rows": rows}
    (tmp_path / "results" / "label_errors.json").write_text(json.dumps(facts))
    monkeypatch.setattr(module, "ROOT", tmp_path)
    line = "| b | 40.0% | 391 | 0.900 / 0.800 | 0.390 / 0.500 | 0.600 / 0.250 |"
    assert module._cleanlab().split("\n")[3:] == [line]


def test_help_of_the_baseline_offers_no_mentornet():
    _, output = run("code/cifar_train_baseline.py", "--help")
    assert "elr: " in output and "  mentornet: " not in output


def test_an_error_inside_the_users_function_keeps_its_traceback():
    def adds(value):
        return value + ""

    with pytest.raises(TypeError, match="unsupported operand"):
        call_object("studentnet", "own:adds", adds, 1)
    for args in ((), (1, 2)):
        with pytest.raises(InputError, match="`studentnet` own:adds cannot be called: .*argument"):
            call_object("studentnet", "own:adds", adds, *args)
    assert call_object("studentnet", "own:adds", adds, "a") == "a"


def test_where_a_module_is_looked_for_is_said_only_if_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "needs_another.py").write_text("import there_is_no_such_module\n")
    for reference, is_told in (("there_is_none:make", True), ("needs_another:make", False)):
        with pytest.raises(InputError, match="cannot be imported: No module named") as caught:
            import_object("studentnet", reference)
        assert ("(its folder must be on PYTHONPATH)" in str(caught.value)) == is_told


def test_runs_that_are_not_done_have_no_accuracy_in_the_documents(monkeypatch):
    """Two runs of a seed are one seed."""
    module = doc_tables()
    config: dict[str, Any] = {"data_dir": "data/0.4", "studentnet": "airbench93"}
    config |= {"dataset_name": "cifar10", "num_examples": 100, "batch_size": 10}
    config |= {"max_number_of_steps": 20, "weighting": None}
    runs = [
        Result("run", config | {"seed": seed}, [], [{"step": step, "eval/accuracy": accuracy}])
        for seed, step, accuracy in ((0, 20, 0.5), (1, 20, 0.6), (1, 20, 0.7), (2, 10, 0.1))
    ]
    monkeypatch.setattr(module, "read_results", lambda folder: runs)
    (line,) = module._accuracies("airbench93").split("\n")[3:]
    assert line == "| cifar10 | 0.4 | 2 | 0.600 (2 seeds) |"


@pytest.mark.parametrize(
    ("package", "name", "module"),
    [
        ("config", "EvalConfig", "evaluation"),
        ("config", "MixupConfig", "weighting"),
        ("config", "NamedWeighting", "weighting"),
        ("config", "TrainConfig", "training"),
        ("config", "WeightingConfig", "weighting"),
        ("evaluation", "run", "job"),
        ("students", "build_student", "registry"),
        ("training", "train", "loop"),
        ("weighting", "SampleWeighting", "sample_weighting"),
        ("weighting", "WeightedBatch", "sample_weighting"),
    ],
)
def test_the_names_of_earlier_modules_stay(package, name, module):
    """They were modules before they became folders."""
    found = getattr(importlib.import_module(f"mentornet.{package}"), name)
    assert found is getattr(importlib.import_module(f"mentornet.{package}.{module}"), name)


def test_a_name_that_a_package_lacks():
    assert not hasattr(mentornet, "no_such_name")
    with pytest.raises(AttributeError, match="^module 'own' has no attribute 'no_such_name'$"):
        exports("own", {"a": "b"})("no_such_name")


def test_the_options_of_what_a_user_named_have_any_name():
    def own(**options):
        return options

    options = {"argument": 1, "reference": 2, "function": 3}
    assert call_object("weighting", "own:own", own, **options) == options
