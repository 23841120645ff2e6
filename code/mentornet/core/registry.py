"""Registries: each entry is a file of a package and is found by name; there is no other list."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable
from importlib.abc import InspectLoader
from typing import Any, NamedTuple

from mentornet.core.errors import InputError, check
from mentornet.core.ordering import natural_order


class _Place(NamedTuple):
    module: str
    description: str
    is_one_of_several: bool


class Registry:
    """The entries of a package by name; to add an entry, add a file.

    The module of an entry defines `attribute`. The entry's name is that of the file, its
    description the first paragraph of the module's docstring. A module with several entries lists
    their names and descriptions in a literal `NAMES = {"name": "Description.", ...}`, and its
    `attribute` is then a mapping with these keys. Modules whose names begin with "_" are helpers,
    not entries.

    Names and descriptions are read from the source; a module is imported when its entry is first
    looked up, so `--help` can list students without importing TensorFlow.

    Example (`datasets/noise/__init__.py`, with the file `datasets/noise/pair.py`):

        NOISE_TYPES = Registry(__name__, attribute="corrupt", argument="noise_type")
        noisy = NOISE_TYPES.find("pair")(corruption)

    Args:
      package: the package's dotted name, usually `__name__` in its `__init__.py`.
      attribute: what each module of the package defines.
      argument: the option with which a user selects an entry, for error messages.
    """

    def __init__(self, package: str, attribute: str, argument: str) -> None:
        self.package, self.attribute, self.argument = package, attribute, argument

    @functools.cached_property
    def _places(self) -> dict[str, _Place]:
        spec = importlib.util.find_spec(self.package)
        assert spec is not None and spec.submodule_search_locations is not None, self.package
        places: dict[str, _Place] = {}
        for finder, module, _ in pkgutil.iter_modules(spec.submodule_search_locations):
            if module.startswith("_"):
                continue
            found = finder.find_spec(module, None)
            assert found is not None and isinstance(found.loader, InspectLoader)
            for name, place in _read(module, found.loader.get_source(module) or "").items():
                if name in places:
                    both = f"{places[name].module} and {module}"
                    raise RuntimeError(f"{self.package}: {both} both define {name}.")
                places[name] = place
        return {name: places[name] for name in sorted(places, key=natural_order)}

    def names(self) -> tuple[str, ...]:
        """The names in alphabetical order, with numbers ordered by value."""
        return tuple(self._places)

    def descriptions(self) -> dict[str, str]:
        """Name -> description, in the order of `names`."""
        return {name: place.description for name, place in self._places.items()}

    def check(self, name: str, more: str = "") -> None:
        """Raises InputError unless there is such an entry; `more` ends the list of choices."""
        rule = f"`{self.argument}` must be one of {', '.join(self._places)}{more}."
        check(name in self._places, rule, **{self.argument: name})

    def find(self, name: str) -> Any:
        """The entry; its module is imported at the first call.

        Raises:
          InputError: there is no entry of this name.
        """
        self.check(name)
        place = self._places[name]
        found = getattr(importlib.import_module(f"{self.package}.{place.module}"), self.attribute)
        return found[name] if place.is_one_of_several else found

    def help(self, *left_out: str) -> str:
        """One line per entry but those left out, for the help of a flag."""
        entries = self.descriptions().items()
        return "\n".join(f"{name}: {text}" for name, text in entries if name not in left_out)

    def table(self) -> str:
        """A Markdown table with one row per entry, for the documents."""
        rows = self.descriptions().items()
        return "\n".join(f"| `{name}` | {text.removesuffix('.')} |" for name, text in rows)


def _read(module: str, source: str) -> dict[str, _Place]:
    """The entries that a module defines, by name."""
    tree = ast.parse(source)
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name) and target.id == "NAMES":
            named = ast.literal_eval(node.value)
            return {name: _Place(module, text, True) for name, text in named.items()}
    paragraph = inspect.cleandoc(ast.get_docstring(tree) or "").partition("\n\n")[0]
    return {module: _Place(module, " ".join(paragraph.split()), False)}


def import_object(argument: str, reference: str) -> Any:
    """The object that a user names as "module:name".

    Raises:
      InputError: there is no such module, or it has no such name; or it is a file's path.
    """
    module, _, name = reference.partition(":")
    is_path = "/" in module or module.startswith(".") or module.endswith(".py")
    rule = f"`{argument}` must be a module's name and a name in it, as in my_net:build, not a path."
    check(not is_path, rule, **{argument: reference})
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        missing = f"{error.name}." if isinstance(error, ModuleNotFoundError) else ""
        is_missing = bool(missing) and f"{module}.".startswith(missing)
        hint = " (its folder must be on PYTHONPATH)" if is_missing else ""
        reason = f"cannot be imported: {error}{hint}"
        raise InputError(f"`{argument}` {reference} {reason}") from None


def call_object(
    argument: str, reference: object, function: Callable[..., Any], /, *args: Any, **options: Any
) -> Any:
    """Calls what a user named. An error inside the user's own function stays as it is.

    Raises:
      InputError: it cannot be called, or not with these arguments.
    """
    try:
        return function(*args, **options)
    except TypeError as error:
        if error.__traceback__ and error.__traceback__.tb_next:
            raise
        raise InputError(f"`{argument}` {reference} cannot be called: {error}") from None
