"""Options: dataclass fields with a help text, a check, and how they become flags."""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mentornet.core.errors import InputError, check, check_count

# (name, value) -> anything; raises InputError. It is never called with the value None.
Check = Callable[[str, Any], object]

REQUIRED: Any = dataclasses.MISSING  # The default of a required option.


@dataclasses.dataclass(frozen=True)
class Option:
    """Metadata of a field, in addition to its name, type and default.

    Attributes:
      help: for `--help` and the documents; placeholders such as "{students}" are replaced by lists
        of names when the flag is defined.
      check: raises InputError for a value outside the option's range.
      may_change: whether a run may be continued with another value.
      choices: the allowed values, if there is a fixed list.
      words: strings that are allowed in addition to values of the field's type.
      repeated: whether the flag is given once for each string of a tuple, instead of once with
        commas.
      flag: name of the flag, by default that of the field.
      group: which scripts have the flag, see `cli.training_flags`; "" means all scripts that use
        the field's class.
    """

    help: str
    check: Check | None = None
    may_change: bool = False
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    repeated: bool = False
    flag: str = ""
    group: str = ""


def option(
    default: Any,
    help: str,
    *,
    check: Check | None = None,
    may_change: bool = False,
    choices: Iterable[str] = (),
    words: Iterable[str] = (),
    repeated: bool = False,
    flag: str = "",
    group: str = "",
) -> Any:
    """A dataclass field that is an option; see `Option`. `default` may be `REQUIRED`.

    ```
    @dataclasses.dataclass(frozen=True)
    class Settings:
        batch_size: int = option(128, "Samples per step.", check=at_least(1))

        def __post_init__(self) -> None:
            check_fields(self)
    ```
    """
    entry = Option(help, check, may_change, tuple(choices), tuple(words), repeated, flag, group)
    # None of mypy's overloads of field() accepts MISSING as the default.
    return dataclasses.field(default=default, metadata={"option": entry})


@dataclasses.dataclass(frozen=True)
class Field:
    """One option of a class; `types` are all types of a union such as `A | B | None`."""

    name: str
    types: tuple[Any, ...]
    default: Any
    option: Option

    @property
    def type(self) -> Any:
        """The type of the option's value where that is not None."""
        return self.types[0]

    @property
    def flag(self) -> str:
        """Name of the flag."""
        return self.option.flag or self.name

    @property
    def is_nested(self) -> bool:
        """Whether the field holds another configuration."""
        return dataclasses.is_dataclass(self.type)


def fields(cls: type) -> tuple[Field, ...]:
    """The options of a configuration class, in the order of its fields."""
    hints = typing.get_type_hints(cls)
    return tuple(
        Field(field.name, _value_types(hints[field.name]), field.default, field.metadata["option"])
        for field in dataclasses.fields(cls)
    )


def _value_types(hint: Any) -> tuple[Any, ...]:
    """The types of a union such as `int | None`, except None; or the single type itself."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    found = typing.get_args(hint) if is_union else (hint,)
    return tuple(each for each in found if each is not types.NoneType)


def class_of(values: dict[str, Any], classes: tuple[Any, ...]) -> Any:
    """The first of the configuration classes that has all of these fields, or else the first."""
    for cls in classes:
        if values.keys() <= {field.name for field in fields(cls)}:
            return cls
    return classes[0]


class _Kind(NamedTuple):
    name: str
    fits: Callable[[Any], bool]


_KINDS = {
    bool: _Kind("true or false", lambda value: value in (True, False)),
    int: _Kind("a whole number", lambda value: isinstance(value, numbers.Integral)),
    float: _Kind("a number", lambda value: isinstance(value, numbers.Real)),
}


def plain(value: Any) -> Any:
    """A value as flags would give it: Python's numbers, strings for paths, tuples for lists."""
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays.
        value = value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return tuple(map(plain, value)) if isinstance(value, (list, tuple)) else value


def check_fields(config: Any) -> None:
    """Checks each field by itself; None is allowed where it is the default.

    Values are stored as `plain` returns them.

    Raises:
      InputError: a value is of another type or outside its range, or a required one is empty.
    """
    for field in fields(type(config)):
        value, option = plain(getattr(config, field.name)), field.option
        object.__setattr__(config, field.name, value)  # The class may be frozen.
        if (value is None and field.default is None) or value in option.words:
            continue
        is_empty = value == "" and field.default is REQUIRED and not option.check
        is_given = value is not None and not is_empty
        check(is_given, f"`{field.flag}` must be given.", **{field.flag: value})
        if isinstance(value, str) and (option.words or field.type in (int, float)):
            allowed = " or ".join(("a number", *option.words))
            raise InputError(f"`{field.flag}` must be {allowed}. Received: {value!r}")
        if field.is_nested:
            names = " or ".join(each.__name__ for each in field.types)
            rule = f"`{field.name}` must be a {names}."
            check(isinstance(value, field.types), rule, **{field.name: value})
        for cls, name in ((str, "a string"), (tuple, "a list")):
            if cls in (field.type, typing.get_origin(field.type)) and len(field.types) == 1:
                rule = f"`{field.flag}` must be {name}."
                check(isinstance(value, cls), rule, **{field.flag: value})
        if kind := _KINDS.get(field.type):
            check(kind.fits(value), f"`{field.flag}` must be {kind.name}.", **{field.flag: value})
        if option.choices:
            rule = f"`{field.flag}` must be one of {', '.join(option.choices)}."
            check(value in option.choices, rule, **{field.flag: value})
        if option.check:
            option.check(field.flag, value)


def may_change(cls: type) -> frozenset[str]:
    """The fields that may differ between a run and its continuation."""
    return frozenset(field.name for field in fields(cls) if field.option.may_change)


def from_json(cls: type, values: dict[str, Any]) -> Any:
    """The configuration that JSON values describe.

    Unknown keys are ignored; missing fields have their defaults.

    Raises:
      InputError: a value is outside its range, or no JSON object where one is needed.
    """
    found = {}
    for field in fields(cls):
        if field.name not in values:
            continue
        value = values[field.name]
        if field.is_nested and value is not None:
            rule = f"`{field.name}` must be a JSON object."
            check(isinstance(value, dict), rule, **{field.name: value})
            value = from_json(class_of(value, field.types), value)
        found[field.name] = tuple(value) if isinstance(value, list) else value
    return cls(**found)


def filled(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """JSON values, perhaps of an earlier version, with the default of each field that they lack."""
    found = {field.name: field.default for field in fields(cls)} | values
    for field in fields(cls):
        if field.is_nested and isinstance(inner := found[field.name], dict):
            found[field.name] = filled(class_of(inner, field.types), inner)
    return found


def differences(
    old: dict[str, Any], new: dict[str, Any], ignored: frozenset[str] = frozenset()
) -> list[str]:
    """How the new JSON values differ from the old ones, as "name was 1, is 2"."""
    return [
        f"{name} was {old.get(name)!r}, is {value!r}"
        for name, value in new.items()
        if name not in ignored and old.get(name) != value
    ]


def at_least(lowest: int) -> Check:
    """Check for a whole number in lowest..2**31-1."""
    return lambda name, value: check_count(name, value, lowest)


def positive(name: str, value: float) -> None:
    """Check for a finite number above 0."""
    rule = f"`{name}` must be a positive number."
    check(math.isfinite(value) and value > 0, rule, **{name: value})


def not_negative(name: str, value: float) -> None:
    """Check for a number of at least 0."""
    check(value >= 0, f"`{name}` must not be negative.", **{name: value})


def within(lowest: float, highest: float) -> Check:
    """Check for a number in lowest..highest, both included."""

    def check_range(name: str, value: float) -> None:
        rule = f"`{name}` must lie in {lowest}..{highest}."
        check(lowest <= value <= highest, rule, **{name: value})

    return check_range


def below(bound: float) -> Check:
    """Check for a number in 0..bound, bound excluded."""

    def check_range(name: str, value: float) -> None:
        limit = f"and below {bound}" if math.isfinite(bound) else "and finite"
        rule = f"`{name}` must be at least 0 {limit}."
        check(0 <= value < bound, rule, **{name: value})

    return check_range


def increasing(highest: float = math.inf) -> Check:
    """Check for whole numbers in 1..highest, each greater than the one before."""
    bounds = f"in 1..{highest}" if highest < math.inf else "from 1 on"

    def check_order(name: str, values: tuple[int, ...]) -> None:
        inside = all(
            isinstance(value, numbers.Integral) and 1 <= value <= highest for value in values
        )
        rule = f"`{name}` must be increasing whole numbers {bounds}."
        check(inside and list(values) == sorted(set(values)), rule, **{name: values})

    return check_order


def checkpoint_folder(name: str, value: str) -> None:
    """Like `folder`, but rejects the characters that TensorFlow takes for patterns."""
    folder(name, value)
    rule = (
        f"`{name}` must not contain *, ?, [ or \\: TensorFlow would not find its checkpoints there."
    )
    check(not {*"*?[\\"} & {*value}, rule, **{name: value})


def folder(name: str, value: str) -> None:
    """Check for the name of a folder."""
    check(bool(value), f"`{name}` must name a folder.", **{name: value})


def not_empty(name: str, value: str | tuple[Any, ...]) -> None:
    """Check for a string, or several values, that is not empty."""
    check(bool(value), f"`{name}` must not be empty.", **{name: value})
