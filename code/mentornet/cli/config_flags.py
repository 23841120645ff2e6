"""Creates flags from the fields of a configuration, and reads the configuration from them."""

from __future__ import annotations

import typing
from typing import Any

from absl import flags

from mentornet.config import options

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # The flags belong to the script that calls these functions.

_DEFINE = {
    bool: flags.DEFINE_boolean,
    float: flags.DEFINE_float,
    int: flags.DEFINE_integer,
    str: flags.DEFINE_string,
}


class _TupleParser(flags.ListParser):
    """Values of one type, separated by commas."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self._kind = kind

    def parse(self, argument: Any) -> tuple[Any, ...]:
        if not isinstance(argument, str):
            return tuple(argument)
        parts = super().parse(argument)
        try:
            return tuple(self._kind(part) for part in parts if part)
        except ValueError:
            kind = {int: "whole numbers", float: "numbers"}[self._kind]
            raise ValueError(f"must be {kind}, separated by commas.") from None

    def flag_type(self) -> str:
        return f"comma separated list of {self._kind.__name__}"


class _WordParser(flags.ArgumentParser):
    """A number, or one of some words."""

    def __init__(self, kind: type, words: tuple[str, ...]) -> None:
        parsers = {float: flags.FloatParser, int: flags.IntegerParser}
        self._numbers, self._words = parsers[kind](), words
        self.syntactic_help = " or ".join((self._numbers.syntactic_help, *words))

    def parse(self, argument: Any) -> Any:
        return argument if argument in self._words else self._numbers.parse(argument)

    def flag_type(self) -> str:
        return " or ".join((self._numbers.flag_type(), *self._words))


def define_flags(
    cls: type,
    group: str = "",
    flag_values: flags.FlagValues = FLAGS,
    **names: str,
) -> None:
    """Defines the flags of a group of a configuration's fields.

    The flag of a required field has an empty string or None as its default.

    Args:
      cls: the configuration.
      group: see `options.Option`.
      flag_values: where the flags are defined.
      names: replacements for placeholders such as "{students}" in help texts.
    """
    for field in options.fields(cls):
        if field.option.group != group or field.is_nested:
            continue
        text, default, kind = field.option.help.format(**names), field.default, field.type
        if default is options.REQUIRED:
            default = "" if kind is str and not field.option.choices else None
        if field.option.choices:
            choices = list(field.option.choices)
            flags.DEFINE_enum(field.flag, default, choices, text, flag_values=flag_values)
        elif field.option.words:
            word_parser = _WordParser(kind, field.option.words)
            flags.DEFINE(word_parser, field.flag, default, text, flag_values)
        elif field.option.repeated:
            flags.DEFINE_multi_string(field.flag, list(default), text, flag_values=flag_values)
        elif typing.get_origin(kind) is tuple:
            parser = _TupleParser(typing.get_args(kind)[0])
            serializer = flags.CsvListSerializer(",")
            flags.DEFINE(parser, field.flag, default, text, flag_values, serializer)
        else:
            _DEFINE[kind](field.flag, default, text, flag_values=flag_values)


def read_flags(cls: type, flag_values: flags.FlagValues = FLAGS) -> dict[str, Any]:
    """The values of those fields of a configuration whose flags are defined."""
    found = {}
    for field in options.fields(cls):
        if not field.is_nested and field.flag in flag_values:
            value = flag_values[field.flag].value
            found[field.name] = tuple(value) if field.option.repeated else value
    return found
