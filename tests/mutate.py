"""Mutation testing: python tests/mutate.py [--max=N] [MODULE ...].

Changes the code of a module in one place at a time (another comparison, operator, constant, order
of arguments, a statement left out, ...) and runs the tests that should notice, each mutant in a
fork of a process that has imported TensorFlow. Prints the mutants that survive. Files are never
touched. Only tests that run in the process itself can notice, so `TARGETS` names these.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import pathlib
import random
import signal
import sys
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

CODE = pathlib.Path(__file__).resolve().parents[1] / "code"

_OPTIONS = ("test_weightings.py::test_defaults_and_bounds_of_the_options",)

_NOISE = ["test_datasets.py::test_noise_against_numpy", "test_datasets.py::test_asymmetric_noise"]

# Module of `mentornet` -> arguments of pytest, the fastest tests first: the first failure ends it.
TARGETS = {
    "config.consistency": [
        "test_updates.py::test_settings_are_checked",
        "test_schedules.py::test_train_config_rejects",
        "test_automatic.py::test_what_it_does_not_go_with",
        "test_distribution.py::test_what_is_refused",
        "test_mixup.py::test_settings_that_contradict",
        "test_fast_training.py::test_contradictions",
        "test_options.py::test_settings_that_are_refused",
    ],
    "config.options": [
        "test_options.py",
        "test_script_flags.py",
        "-knot flags_to_json and not drops and not formats",
    ],
    "config.weighting": [
        "test_weighting.py::test_against_numpy",
        "test_options.py::test_values_of_another_type",
        "test_options.py::test_weightings_that_configurations_express_differently",
        "test_options.py::test_settings_of_a_weighting",
        "test_schedules.py",
        "test_script_flags.py",
        "test_automatic.py::test_what_a_percentile_for_each_class_needs",
        "test_automatic.py::test_other_words",
        "test_weightings.py::test_wrong_weightings",
        "test_mixup.py::test_settings_that_contradict",
    ],
    "core.replicas": ["test_replicas.py"],
    "core.registry": ["test_registry.py", "-knot tables and not help and not column"],
    "core.schedules": ["test_schedules.py"],
    "core.seeds": ["test_seeds.py"],
    "datasets.augmentation": ["test_augmentation.py"],
    "datasets.noise": _NOISE,
    "datasets.noise.asymmetric": _NOISE,
    "datasets.noise.pair": _NOISE,
    "datasets.noise.symmetric": _NOISE,
    "datasets.noise.uniform": _NOISE,
    "datasets.pipeline": [
        "test_datasets.py",
        "test_augmentation.py",
        "test_distribution.py::test_what_is_refused",
        "test_replicas.py",
        "-kpass or shuffled or any_step or stacks or larger or once_in_order or alternating "
        "or refused or machine",
    ],
    "datasets.corrections": ["test_corrections.py"],
    "cleaning.labelled_runs": [
        "test_labelled_runs.py",
        "test_label_errors.py::test_runs_and_records_must_have_the_same_labels",
        "test_noise_rate.py::test_columns_that_scoring_needs",
    ],
    "cleaning.label_errors": [
        "test_label_errors.py",
        "test_noise_rate.py::test_two_runs_that_saw_different_samples",
    ],
    "learning.curricula": ["test_curricula.py"],
    "learning.quality": ["test_dump.py", "-kquality or must_hold or equal_losses"],
    "learning.teaching": [
        "test_learning.py",
        "-knot (whatever or shipped or grid) or whatever and self_paced",
    ],
    "learning.training_rows": [
        "test_dump.py",
        "test_learning.py",
        "-kdumped or rows or parts or stay or line or passed_over or unknown or grid or rejects "
        "or origin or one_row",
    ],
    "runs.reader": ["test_report.py", "-knot kept_results and not label_scores"],
    "runs.statistics": [
        "test_training.py::test_prediction_statistics",
        "test_training.py::test_weight_statistics",
    ],
    "students.batch_normalization": [
        "test_students.py",
        "test_airbench.py",
        "test_export.py",
        "-kbatch_norm or moving or synchronised or told or settings_reach or stock",
    ],
    "students.local_response_normalization": [
        "test_students.py",
        "test_export.py",
        "-klocal_response or stock",
    ],
    "students.networks.airbench": ["test_airbench.py"],
    "students.networks.inception": [
        "test_schedules.py",
        "test_students.py",
        "test_cli.py::test_flags_and_defaults_of_the_release",
        "-knot resnet",
    ],
    "students.recipes": [
        "test_schedules.py",
        "test_registry.py::test_the_table_of_recipes",
        "test_students.py::test_other_students_are_trained_plainly",
    ],
    "students.registry": [
        "test_schedules.py",
        "test_students.py",
        "test_distribution.py::test_what_is_refused",
        "-knot resnet",
    ],
    "training.data_driven": ["test_learn_curriculum.py"],
    "training.hooks": ["test_hooks.py"],
    "training.label_wave": ["test_label_wave.py", "-kshares or two_passes or rows_tell"],
    "training.lookahead": ["test_lookahead.py"],
    "training.losses": [
        "test_lookahead.py::test_smoothed_cross_entropy_against_numpy",
        "test_layer_losses.py::test_what_layers_add_by_hand",
    ],
    "training.optimizers": ["test_optimizers.py"],
    "training.recipe": [
        "test_schedules.py",
        "test_options.py::test_resolved_settings_are_written_down",
        "test_fast_training.py::test_automatic_precision",
        "test_fast_training.py::test_contradictions",
        "test_fast_training.py::test_defaults_of_an_airbench_student",
    ],
    "training.step": [
        "test_step.py",
        "test_layer_losses.py",
        "test_weightings.py::test_elr_equals_numpy",
        "test_weightings.py::test_variables_have_distinct_names",
        "test_weightings.py::test_a_run_goes_on_from_its_checkpoint[automatic]",
    ],
    "training.mentor_updates": [
        "test_updates.py",
        "-ktrusted or another_worker or standardises or five or sees_the_history",
    ],
    "training.wrappers": [
        "test_optimizers.py",
        "test_mixup.py::test_moving_average_of_the_parameters",
    ],
    "weighting.features": [
        "test_features.py",
        "test_curricula.py",
        "test_dump.py::test_an_unknown_feature_is_refused_by_its_flag",
        "-khand or stored or named_once or grids or curriculum or ever or flag or history_s",
    ],
    "weighting.mentor": [
        "test_mentor.py",
        "test_weighting.py::test_against_numpy",
        "test_features.py::test_names_are_stored_with_the_checkpoint",
        "test_features.py::test_a_further_feature_reaches_the_hidden_layer",
        "-knot shipped",
    ],
    "weighting.percentiles": ["test_weighting.py", "-kpercentile"],
    "weighting.sample_weighting": [
        "test_weighting.py",
        "test_features.py::test_weighting_wants_every_feature",
        "test_automatic.py",
    ],
    "weighting.automatic": ["test_automatic.py"],
    "weighting.decisions": ["test_automatic.py"],
    "label_noise.changes": [
        "test_label_wave.py::test_the_first_minimum",
        "test_label_wave.py::test_shares_by_hand",
        "test_label_wave.py::test_shares_equal_numpy_also_after_a_resume",
        "test_label_wave.py::test_two_passes_keep_nothing",
    ],
    "weighting.protocol": [
        "test_weightings.py",
        "-k(distinct or records or wrong_weightings or mixed or goes_on) and not replicas",
    ],
    "weighting.registry": [
        "test_weightings.py",
        "-kdistinct or records or wrong_weightings or descriptions or factory or mentornet_as",
    ],
    "weighting.keras_adapters": [
        "test_keras_model.py",
        "test_weightings.py",
        "-k(fit or loss or classifier or columns or several or known) and not replicas",
    ],
    "weighting.keras_losses": [
        "test_keras_model.py",
        "-k(loss or masked or classifier or one_class or known or sees) and not replicas",
    ],
    "weighting.curriculum": [
        "test_weightings.py::test_what_a_weighting_logs",
        "test_weightings.py::test_a_closed_form_sees_loss_difference_and_epoch",
        "test_weightings.py::test_closed_forms_are_the_curricula",
        "test_features.py::test_training_computes_what_the_mentornet_sees",
        "test_automatic.py",
    ],
    "cleaning.planning": [
        "test_clean.py::test_the_plan",
        "test_clean.py::test_the_run_that_ranks",
        "test_clean.py::test_the_manifest_of_the_data",
    ],
    "cleaning.feature_rows": [
        "test_feature_data.py",
        "-kneighbour or some_are_compared or fewer_rows or unusual or nearest_row or twelve",
    ],
    "cleaning.label_files": ["test_labels.py", "-knot refused"],
    "label_noise.history": [
        "test_features.py",
        "test_earlier_runs.py",
        "-khistory or several_samples or columns and not report",
    ],
    "weighting.mixup": ["test_mixup.py", "-knot run and not fit and not evaluated"],
    "label_noise.mixtures": ["test_mixtures.py"],
    "label_noise.noise_rate": [
        "test_estimates.py",
        "test_noise_rate.py::test_confident_learning_by_hand",
        "test_noise_rate.py::test_means_of_classes",
        "test_automatic.py::test_shares_of_the_classes_are_shrunk_as_far_as_their_samples_are_few",
        "test_label_errors.py::test_trusted_samples_decide_the_share",
        "test_noise_rate.py::test_disagreement_is_stated",
    ],
    "label_noise.confusion": ["test_confusion.py", "-knot half"],
    "label_noise.ranking": [
        "test_estimates.py",
        "test_confusion.py",
        "test_noise_rate.py::test_rank_score_by_hand",
        "test_noise_rate.py::test_probabilities_join_the_margins_where_little_is_learned",
        "test_noise_rate.py::test_runs_are_pooled_by_their_visits",
        "test_noise_rate.py::test_the_share_of_right_labels_that_are_left_out",
        "-knot half_of_a_class",
    ],
    "weighting.objective": ["test_objective.py"],
    "weighting.methods.uniform": ["test_weightings.py::test_uniform_is_one"],
    "weighting.methods.mentornet": ["test_weightings.py::test_a_mentornet_as_a_weighting"],
    "weighting.methods.elr": [
        *_OPTIONS,
        "test_weightings.py::test_elr_clips_certain_predictions",
        "test_weightings.py::test_elr_equals_numpy",
    ],
    "weighting.methods.gce": [
        *_OPTIONS,
        "test_weightings.py::test_gce_has_the_gradient_of_its_loss",
    ],
    "weighting.methods.self_paced": [
        *_OPTIONS,
        "test_weightings.py::test_closed_forms_are_the_curricula",
    ],
    "weighting.methods.spcl_linear": [
        *_OPTIONS,
        "test_weightings.py::test_closed_forms_are_the_curricula",
    ],
    "weighting.methods.focal_loss": [
        *_OPTIONS,
        "test_weightings.py::test_closed_forms_are_the_curricula",
    ],
}

# Nothing runs differently without these; `strict=True` asserts what holds by construction.
_SKIPPED = ("annotation", "returns", "decorator_list")
_COMPARISONS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_NAMES = {
    "min": "max",
    "minimum": "maximum",
    "reduce_min": "reduce_max",
    "argmin": "argmax",
    "any": "all",
    "reduce_any": "reduce_all",
    "reduce_sum": "reduce_mean",
    "zeros": "ones",
    "zeros_like": "ones_like",
    "floor": "ceil",
}
_NAMES |= {b: a for a, b in _NAMES.items()}


def _commutes(function: ast.expr) -> bool:
    names = ("min", "max", "minimum", "maximum", "equal", "convolve", "logaddexp")
    return ast.unparse(function).rpartition(".")[2] in names


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """Copies of a node with one change each."""
    changed = copy.deepcopy(node)
    match changed:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                if type(op) in _COMPARISONS:
                    other = copy.deepcopy(changed)
                    other.ops[index] = _COMPARISONS[type(op)]()
                    yield other
            if isinstance(ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
                yield ast.UnaryOp(ast.Not(), changed)
        case ast.AugAssign(op=op):
            yield ast.Pass()
            if type(op) in _OPERATORS:
                changed.op = _OPERATORS[type(op)]()
                yield changed
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.BinOp(op=op) if type(op) in _OPERATORS:
            changed.op = _OPERATORS[type(op)]()
            yield changed
        case ast.BoolOp(op=op):
            changed.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield changed
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Attribute(attr=name) if name in _NAMES:
            changed.attr = _NAMES[name]
            yield changed
        case ast.Name(id=name) if name in _NAMES:
            changed.id = _NAMES[name]
            yield changed
        case ast.IfExp(body=body, orelse=orelse):
            changed.body, changed.orelse = orelse, body
            yield changed
        case ast.If(test=test) if "TYPE_CHECKING" not in ast.unparse(test):
            changed.test = ast.UnaryOp(ast.Not(), test)
            yield changed
        case ast.Call(func=function, args=[first, second, *rest]) if not _commutes(function):
            changed.args = [second, first, *rest]
            yield changed


def _replacements(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST, ast.AST]]:
    """(parent, field, index, node, variant)."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            several = isinstance(value, list)
            for index, node in enumerate(value if several else [value]):
                if isinstance(node, ast.AST):
                    for variant in variants(node):
                        yield parent, field, index if several else None, node, variant


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _first_line(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0]


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Descriptions and sources of all mutants of a module."""
    tree = ast.parse(source)
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        for name, part in ast.iter_fields(node)
        if name in _SKIPPED or (isinstance(node, ast.keyword) and node.arg == "strict")
        for each in (part if isinstance(part, list) else [part])
        for inner in (ast.walk(each) if isinstance(each, ast.AST) else ())
    }
    for parent, field, index, node, variant in list(_replacements(tree)):
        if id(node) in skipped:
            continue
        _put(parent, field, index, ast.copy_location(variant, node))
        ast.fix_missing_locations(tree)
        line = getattr(node, "lineno", 0)
        yield f"{line}: {_first_line(node)}  ->  {_first_line(variant)}", ast.unparse(tree)
        _put(parent, field, index, node)


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a modified source."""

    def __init__(self, module: str, path: pathlib.Path, source: str) -> None:
        self._module, self._path, self._source = module, path, source

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        spec = importlib.util.spec_from_loader(name, self, origin=str(self._path))
        if spec is not None and self._path.name == "__init__.py":
            spec.submodule_search_locations = [str(self._path.parent)]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._path)
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)


def is_noticed(module: str, path: pathlib.Path, source: str, tests: list[str], limit: int) -> bool:
    """Whether the tests fail, or take longer than `limit` seconds, with another source."""
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        signal.alarm(limit)
        sys.meta_path.insert(0, _Mutated(f"mentornet.{module}", path, source))
        os._exit(pytest.main(["-qx", "-p", "no:cacheprovider", *tests]))
    return os.waitpid(child, 0)[1] != 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TARGETS), metavar="MODULE")
    parser.add_argument("--max", type=int, default=0, help="mutants a module; 0 is all")
    parser.add_argument("--seconds", type=int, default=300, help="limit of a mutant's tests")
    arguments = parser.parse_args()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # Loading them takes a second a mutant.
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    os.chdir(pathlib.Path(__file__).parent)
    for module in arguments.modules:
        path = CODE.joinpath("mentornet", *module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        tests, source = TARGETS[module], path.read_text()
        if is_noticed(module, path, source, tests, arguments.seconds):
            sys.exit(f"{module}: {tests} fail without a change.")
        found = list(mutants(source))
        if arguments.max and arguments.max < len(found):
            found = random.Random(0).sample(found, arguments.max)
        start = time.monotonic()
        survivors = []
        for description, mutant in found:
            if not is_noticed(module, path, mutant, tests, arguments.seconds):
                survivors.append(description)
                print(f"survived: {module}:{description}", flush=True)
        seconds = time.monotonic() - start
        killed = len(found) - len(survivors)
        print(f"{module}: {killed} of {len(found)} noticed, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
