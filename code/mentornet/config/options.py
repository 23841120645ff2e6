"""Options: dataclass fields that carry their help, their check and how they become flags."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

from mentornet.core.errors import InputError, check, check_count

# (name, value) -> None; raises InputError. Never called with None.
Check = Callable[[str, Any], None]

REQUIRED: Any = dataclasses.MISSING  # The default of an option that must be given.


@dataclasses.dataclass(frozen=True)
class Option:
    """What is known of a field besides its name, type and default.

    Attributes:
      help: for `--help` and the documents; "{students}" and the like stand for lists of names that
        are filled in when the flag is defined.
      check: raises InputError for a value outside the option's range.
      may_change: whether a run may be continued with another value.
      choices: the values that are allowed, if they are a fixed list.
      words: texts that are allowed besides values of the field's type.
      flag: name of the flag, by default that of the field.
      group: which scripts have the flag, see `cli.training_flags`; "" is all of the field's class.
    """

    help: str
    check: Check | None = None
    may_change: bool = False
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
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
    entry = Option(help, check, may_change, tuple(choices), tuple(words), flag, group)
    # mypy's overloads of field() have no default that may be missing.
    return dataclasses.field(default=default, metadata={"option": entry})


@dataclasses.dataclass(frozen=True)
class Field:
    """One option of a class: `type` is that of its value where it is not None.

    `types` are all that a union such as `A | B | None` names. `flag` is the flag's name; a field
    that holds another configuration has none.
    """

    name: str
    types: tuple[Any, ...]
    default: Any
    option: Option

    @property
    def type(self) -> Any:
        return self.types[0]

    @property
    def flag(self) -> str:
        return self.option.flag or self.name

    @property
    def is_nested(self) -> bool:
        return dataclasses.is_dataclass(self.type)


def fields(cls: type) -> tuple[Field, ...]:
    """The options of a configuration's class, in its order."""
    hints = typing.get_type_hints(cls)
    return tuple(
        Field(field.name, _value_types(hints[field.name]), field.default, field.metadata["option"])
        for field in dataclasses.fields(cls)
    )


def _value_types(hint: Any) -> tuple[Any, ...]:
    """The types of a union such as `int | None` but for None; another type alone."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    found = typing.get_args(hint) if is_union else (hint,)
    return tuple(each for each in found if each is not types.NoneType)


def class_of(values: dict[str, Any], classes: tuple[Any, ...]) -> Any:
    """The first of some configurations that has all of these fields, or else the first."""
    for cls in classes:
        if values.keys() <= {field.name for field in fields(cls)}:
            return cls
    return classes[0]


def check_fields(config: Any) -> None:
    """Checks each field by itself; None is allowed where it is the default.

    Raises:
      InputError: a value lies outside its range.
    """
    for field in fields(type(config)):
        value, option = getattr(config, field.name), field.option
        if (value is None and field.default is None) or value in option.words:
            continue
        if option.words and isinstance(value, str):
            words = " or ".join(option.words)
            raise InputError(f"`{field.flag}` must be a number or {words}. Received: {value!r}")
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

    What is not a field is ignored, what is missing has its default.

    Raises:
      InputError: a value lies outside its range.
    """
    found = {}
    for field in fields(cls):
        if field.name not in values:
            continue
        value = values[field.name]
        if field.is_nested and value is not None:
            value = from_json(class_of(value, field.types), value)
        found[field.name] = tuple(value) if isinstance(value, list) else value
    return cls(**found)


def at_least(lowest: int) -> Check:
    """A whole number in lowest..2**31-1."""
    return lambda name, value: check_count(name, value, lowest)


def positive(name: str, value: float) -> None:
    rule = f"`{name}` must be a positive number."
    check(math.isfinite(value) and value > 0, rule, **{name: value})


def not_negative(name: str, value: float) -> None:
    check(value >= 0, f"`{name}` must not be negative.", **{name: value})


def within(lowest: float, highest: float) -> Check:
    """A number in lowest..highest, both included."""

    def check_range(name: str, value: float) -> None:
        rule = f"`{name}` must lie in {lowest}..{highest}."
        check(lowest <= value <= highest, rule, **{name: value})

    return check_range


def below(bound: float) -> Check:
    """A number in 0..bound, the bound not included."""

    def check_range(name: str, value: float) -> None:
        rule = f"`{name}` must lie in 0..{bound}, {bound} not included."
        check(0 <= value < bound, rule, **{name: value})

    return check_range


def increasing(lowest: int, highest: float = math.inf) -> Check:
    """Whole numbers in lowest..highest, each greater than the one before."""
    bounds = f"in {lowest}..{highest}" if highest < math.inf else f"from {lowest} on"

    def check_order(name: str, values: tuple[int, ...]) -> None:
        inside = all(lowest <= value <= highest for value in values)
        rule = f"`{name}` must be increasing whole numbers {bounds}."
        check(inside and list(values) == sorted(set(values)), rule, **{name: values})

    return check_order


def read_by(read: Callable[[Any], Any]) -> Check:
    """A value that a function reads without a ValueError, whose message says what is wrong."""

    def check_readable(name: str, value: Any) -> None:
        del name
        try:
            read(value)
        except ValueError as error:
            raise InputError(str(error)) from None

    return check_readable


def folder(name: str, value: str) -> None:
    check(bool(value), f"`{name}` must name a folder.", **{name: value})


def not_empty(name: str, value: str) -> None:
    check(bool(value), f"`{name}` must not be empty.", **{name: value})
