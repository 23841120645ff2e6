"""Imports point one way, and only layer 4 and the scripts touch flags (docs/architecture.md)."""

import ast

from conftest import ROOT

PACKAGE = ROOT / "code" / "mentornet"
LAYERS = [
    {"config", "schedules", "seeds", "files", "features", "pages", "replicas"},
    {"datasets", "students", "mentor", "optimizers", "results", "distribution", "recompute"},
    {"weighting", "checkpoints", "tf1_checkpoints", "metrics", "runs", "history", "mixup"},
    {"trainer", "factory", "training", "evaluation", "dump", "updates", "labels", "keras_model"},
    {"cli", "training_flags"},
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}


def imported_modules(path):
    """First component below mentornet of each import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "mentornet":
                yield from (["mentornet", alias.name] for alias in node.names)
            else:
                yield node.module.split(".")


def test_imports_point_down():
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if name == "__init__":
            continue
        for parts in imported_modules(path):
            assert parts[0] != "mentornet_learning", f"{path} imports mentornet_learning"
            if parts[0] == "mentornet" and len(parts) > 1:
                seen += 1
                assert LAYER[parts[1]] <= LAYER[name], f"{path} imports {'.'.join(parts)}"
            if name not in ("cli", "training_flags"):
                assert parts[0] != "absl", f"{path} touches flags"
    assert seen > 20


def test_functions_and_files_are_short():
    for folder in (PACKAGE, ROOT / "mentornet_learning", ROOT / "commands", ROOT / "code"):
        for path in folder.rglob("*.py"):
            text = path.read_text()
            assert text.count("\n") <= 300, path
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    first = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
                    assert node.end_lineno - first < 50, f"{path}: {node.name}"
