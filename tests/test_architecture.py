"""Imports point one way between folders and make no cycle inside one (docs/architecture.md)."""

import ast
import graphlib
import re

import pytest
from helpers import ROOT

PACKAGE = ROOT / "code" / "mentornet"
# From the bottom up: each may import those before it, and itself.
FOLDERS = (
    "core",
    "config",
    "datasets",
    "students",
    "label_noise",
    "weighting",
    "learning",
    "runs",
    "evaluation",
    "training",
    "keras_model",
    "features",
    "cleaning",
    "cli",
    "__main__",
    "mentornet_learning",
    "code",
    "commands",
    "benchmarks",
)
PLACE = {folder: number for number, folder in enumerate(FOLDERS)}
USES_FLAGS = ("cli", "mentornet_learning", "code", "commands", "benchmarks")


def modules():
    """Every module of the project except tests: dotted name -> file."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    for path in (ROOT / "mentornet_learning").glob("*.py"):
        found[f"mentornet_learning.{path.stem}".removesuffix(".__init__")] = path
    for folder in ("code", "commands", "benchmarks"):
        found |= {f"{folder}.{path.stem}": path for path in (ROOT / folder).glob("*.py")}
    return found


MODULES = modules()


def folder_of(module):
    """The place of a module in `FOLDERS`; None for `mentornet` itself, which only names others."""
    parts = module.split(".")
    name = parts[1] if parts[0] == "mentornet" and len(parts) > 1 else parts[0]
    return None if name == "mentornet" else name


def imported(module, path):
    """The project's modules that a module imports, anywhere in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            whole = str(node.module)
            names = [whole, *(f"{whole}.{alias.name}" for alias in node.names)]
        scripts = {f"{module.split('.')[0]}.{name}" for name in names}  # They lie side by side.
        yield from (name for name in {*names, *scripts} if name in MODULES and name != module)


def test_imports_point_down():
    checked = 0
    for module, path in MODULES.items():
        own = folder_of(module)
        for other in imported(module, path):
            if own is None or folder_of(other) is None:
                continue
            checked += 1
            assert PLACE[folder_of(other)] <= PLACE[own], f"{module} imports {other}"
    assert checked > 150


def test_the_documented_order_is_the_one_that_is_checked():
    text = (ROOT / "docs" / "architecture.md").read_text()
    listed = re.findall(r"^    (\w+)(?:/|\.py) ", text, re.M)
    assert listed == [name for name in FOLDERS if name in listed]
    assert len(listed) == FOLDERS.index("__main__") + 1


def test_no_folder_has_a_cycle():
    graph = {module: set(imported(module, path)) for module, path in MODULES.items()}
    for module in MODULES:  # A package's __init__ runs before its modules; fronts are lazy.
        parent = module.rpartition(".")[0]
        if parent in MODULES and "mentornet.core.lazy" not in graph[parent]:
            graph[module].add(parent)
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert len(order) == len(MODULES)


def test_the_package_does_not_import_from_its_own_front():
    """`from mentornet import X` would hide from these tests what is imported."""
    folders = {module.split(".")[1] for module in MODULES if module.count(".") > 0}
    for module, path in MODULES.items():
        if module.startswith("mentornet."):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module == "mentornet":
                    names = {alias.name for alias in node.names}
                    assert names <= folders | {"__version__"}, f"{module} imports {names}"


def test_no_test_file_uses_another():
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    for path in tests:
        names = "|".join(other.stem for other in tests if other != path)
        used = re.search(rf"^\s*(from|import) ({names})\b|\"({names}):", path.read_text(), re.M)
        assert used is None, f"{path}: {used}"


def test_only_scripts_touch_flags():
    users = [module for module, path in MODULES.items() if "absl" in path.read_text()]
    assert len(users) > 5
    for module in users:
        assert folder_of(module) in USES_FLAGS, f"{module} touches flags"


def test_flags_are_fields():
    """But for those that are no field by their nature: GPUs, weightings, what is not supported."""
    names = ("config_flags", "training_flags", "weighting_flags", "commands.evaluate")
    users = {module for module, path in MODULES.items() if "flags.DEFINE" in path.read_text()}
    users = {module for module in users if folder_of(module) != "benchmarks"}
    assert users == {f"mentornet.cli.{name}" for name in names}
    named = {
        "training_flags": ["device_id", "loss_p_precentile"],
        "weighting_flags": ["weighting", "weighting_options"],
        "commands.evaluate": ["master"],
    }
    for name, expected in named.items():
        text = MODULES[f"mentornet.cli.{name}"].read_text()
        assert re.findall(r"flags\.DEFINE\w*\(\s*\"(\w+)", text) == expected


def test_only_commands_import_commands():
    """What two of them share is in a module of cli/, which either may import."""
    commands = "mentornet.cli.commands"
    others = [module for module in MODULES if module.startswith("mentornet.cli.")]
    others = [module for module in others if not module.startswith(commands)]
    expected = {"config_flags", "front", "script", "training_flags", "weighting_flags"}
    assert {module.rpartition(".")[2] for module in others} == expected
    for module in others:
        assert not any(
            name.startswith(f"{commands}.") for name in imported(module, MODULES[module])
        )


@pytest.mark.parametrize("folder", ["code", "mentornet_learning", "commands", "benchmarks"])
def test_functions_and_files_are_short(folder):
    for path in (ROOT / folder).rglob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
                assert first and node.end_lineno
                assert node.end_lineno - first < 50, f"{path}: {node.name}"
