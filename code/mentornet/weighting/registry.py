"""Weightings by name: each is a file of `methods`, or a user's own factory.

Nothing here imports TensorFlow before `make` is called, so that flags can list the names.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import keyword
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mentornet.config.weighting import WeightingConfig
from mentornet.core.errors import InputError, check

if TYPE_CHECKING:
    from mentornet.weighting.protocol import Context, Weighting

_METHODS = pathlib.Path(__file__).with_name("methods")
_FACTORY = "make"


class Method(NamedTuple):
    """What a method's file says of it: the first line of its docstring, and `make`'s options."""

    summary: str
    options: tuple[str, ...]


def names() -> list[str]:
    """The names of the weightings that come with the project."""
    return sorted(path.stem for path in _METHODS.glob("*.py") if not path.stem.startswith("_"))


def method(name: str) -> Method:
    """What is said of a weighting in its file, which is read and not imported."""
    tree = ast.parse((_METHODS / f"{name}.py").read_text())
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    arguments = next(function for function in functions if function.name == _FACTORY).args
    options = [argument.arg.rstrip("_") for argument in arguments.kwonlyargs]
    if arguments.kwarg is not None:  # **settings of a curriculum.
        options += [field.name for field in dataclasses.fields(WeightingConfig)]
    return Method(summary, tuple(options))


def check_name(name: str) -> None:
    """Raises InputError unless `name` is one of `names()`, or "module:factory"."""
    rule = f"`weighting` must be one of {', '.join(names())}, or 'module:factory'."
    check(name in names() or ":" in name, rule, weighting=name)


def find(name: str) -> Callable[..., Weighting]:
    """The factory of a weighting.

    Args:
      name: one of `names()`, or "module:factory".

    Raises:
      InputError: there is no such weighting.
    """
    module, _, factory = name.partition(":")
    check_name(name)
    if not factory:
        module, factory = f"{__package__}.methods.{name}", _FACTORY
    try:
        return getattr(importlib.import_module(module), factory)
    except (ImportError, AttributeError) as error:
        raise InputError(f"`weighting` {name} cannot be imported: {error}") from None


def make(
    weighting: str | Callable[..., Weighting], context: Context, options: Mapping[str, Any]
) -> Weighting:
    """Makes a weighting.

    Args:
      weighting: its name (see `find`), or its factory.
      context: of the training.
      options: the factory's keyword arguments; one that is a keyword of Python ("lambda") is handed
        over with "_" behind it.

    Raises:
      InputError: there is no such weighting, or the options are not the factory's.
    """
    factory = find(weighting) if isinstance(weighting, str) else weighting
    if isinstance(weighting, str) and ":" not in weighting:
        known = method(weighting).options
        rule = f"`weighting_options` of {weighting} are: {', '.join(known) or 'none'}."
        check(set(options) <= set(known), rule, **dict(options))
    arguments = {f"{k}_" if keyword.iskeyword(k) else k: v for k, v in options.items()}
    try:
        inspect.signature(factory).bind(context, **arguments)
    except TypeError as error:
        raise InputError(
            f"`weighting_options` do not suit `weighting`: {error}. Received: {dict(options)!r}"
        ) from None
    made = factory(context, **arguments)
    check(callable(made), f"`weighting` {weighting} must return a function.", returned=made)
    return made


def name_of(weighting: str | Callable[..., Weighting]) -> str:
    """The name by which `find` finds a factory again."""
    if isinstance(weighting, str):
        return weighting
    return f"{weighting.__module__}:{weighting.__qualname__}"
