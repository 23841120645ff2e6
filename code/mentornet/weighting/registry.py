"""Weightings by name, or from your own factory; only `make` imports TensorFlow."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import json
import keyword
import numbers
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mentornet.config.weighting import MENTORNET, WeightingConfig
from mentornet.core.errors import InputError, check
from mentornet.core.registry import call_object, import_object
from mentornet.weighting.methods import WEIGHTINGS

if TYPE_CHECKING:
    from mentornet.weighting.protocol import Context, Weighting


def check_name(name: str) -> None:
    """Raises InputError unless `name` is a weighting, or of the form "module:factory"."""
    if ":" not in name:
        WEIGHTINGS.check(name, ", or 'module:factory'")


def options_of(name: str) -> tuple[str, ...]:
    """The options of a weighting of `methods`, read from its file without importing it."""
    spec = importlib.util.find_spec(f"{WEIGHTINGS.package}.{name}")
    assert spec is not None and spec.origin is not None
    tree = ast.parse(pathlib.Path(spec.origin).read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if WEIGHTINGS.attribute not in functions:
        raise RuntimeError(f"{spec.origin} must define a function {WEIGHTINGS.attribute}.")
    arguments = functions[WEIGHTINGS.attribute].args
    found = [argument.arg.rstrip("_") for argument in arguments.kwonlyargs]
    if arguments.kwarg is not None:  # **settings of Algorithm 1.
        found += [field.name for field in dataclasses.fields(WeightingConfig)]
    return tuple(found)


def make(
    weighting: str | Callable[..., Weighting], context: Context, options: Mapping[str, Any]
) -> Weighting:
    """Creates a weighting.

    Args:
      weighting: the name of a weighting of `methods`, "module:factory", or a factory.
      context: of the training.
      options: the factory's keyword arguments; a Python keyword ("lambda") is passed with "_"
        appended.

    Returns:
      The weighting, see `weighting.protocol`.

    Raises:
      InputError: there is no such weighting, or it cannot be imported; it does not have these
        options, or one of them must be a number; or the factory returns no function.
    """
    factory: Any = weighting
    is_own = not isinstance(weighting, str) or ":" in weighting
    if isinstance(weighting, str):
        factory = import_object("weighting", weighting) if is_own else WEIGHTINGS.find(weighting)
        known = () if is_own else options_of(weighting)
        rule = f"`weighting_options` of {weighting} are: {', '.join(known) or 'none'}."
        check(is_own or set(options) <= set(known), rule, **dict(options))
    arguments = {f"{k}_" if keyword.iskeyword(k) else k: v for k, v in options.items()}
    try:
        signature = inspect.signature(factory)
        bound = signature.bind(context, **arguments)
    except (TypeError, ValueError) as error:  # No function, or one without a signature.
        raise InputError(
            f"`weighting_options` do not fit `weighting`: {error}. Received: {dict(options)!r}"
        ) from None
    for key, value in arguments.items() if not is_own else ():
        parameter = signature.parameters.get(key)
        if parameter and type(parameter.default) in (int, float):
            rule = f"`weighting_options`: {key.rstrip('_')} must be a number."
            check(isinstance(value, numbers.Real), rule, **{key: value})
    if weighting != MENTORNET:  # Whose settings are fields of the configuration.
        context.facts["weighting_options"] = _resolved(bound, has_settings=not is_own)
    made = call_object("weighting", weighting, factory, context, **arguments)
    check(callable(made), f"`weighting` {weighting} must return a function.", returned=made)
    return made


def _resolved(bound: inspect.BoundArguments, has_settings: bool) -> dict[str, Any]:
    """A factory's options, defaults included; what JSON cannot hold is left out.

    Args:
      bound: the arguments, the first of which is the context.
      has_settings: whether `**options` are fields of `WeightingConfig`.
    """
    found: dict[str, Any] = {}
    bound.apply_defaults()
    for name, value in list(bound.arguments.items())[1:]:
        if bound.signature.parameters[name].kind is not inspect.Parameter.VAR_KEYWORD:
            found[name.rstrip("_") if keyword.iskeyword(name.rstrip("_")) else name] = value
        elif has_settings:
            defaults = {field.name: field.default for field in dataclasses.fields(WeightingConfig)}
            found |= defaults | value
        else:
            found |= value
    return {name: value for name, value in found.items() if _is_json(value)}


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def name_of(weighting: str | Callable[..., Weighting]) -> str:
    """The name by which `make` finds a factory.

    Raises:
      InputError: it has none, such as a lambda function or a functools.partial.
    """
    if isinstance(weighting, str):
        return weighting
    rule = "A model can be saved only if its `weighting` is a function or class of a module; save "
    rule += "the `student` otherwise."
    name = getattr(weighting, "__qualname__", "<none>")
    check(name.isidentifier(), rule, weighting=weighting)
    if weighting.__module__ == "__main__":
        said = f"`weighting` {name} is defined by this program, so that no other can load the model"
        print(f"WARNING: {said}.", flush=True)
    return f"{weighting.__module__}:{name}"
