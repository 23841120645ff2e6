"""The command `mentornet`: lists and runs its subcommands."""

from __future__ import annotations

import importlib
import sys

from mentornet import __version__
from mentornet.cli.commands import COMMANDS
from mentornet.core.errors import InputError


def main() -> None:
    """Runs the command named by the first argument; the other arguments are its flags.

    Only the selected command's modules are imported, so that the list of commands is shown quickly.
    """
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked in ("", "help", "-h", "--help"):
        print(_overview())
        sys.exit(0 if asked else 2)
    if asked == "--version":
        print(f"mentornet {__version__}")
        return
    try:
        COMMANDS.check(asked)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    from absl import flags

    from mentornet.cli import script

    flags.disclaim_key_flags()  # The flags belong to the program that was started.
    sys.argv[:2] = [f"mentornet {asked}"]
    script.run_command(importlib.import_module(f"{COMMANDS.package}.{asked}"))


def _overview() -> str:
    descriptions = COMMANDS.descriptions()
    width = max(map(len, descriptions))
    lines = [f"  {name:<{width}}  {text}" for name, text in descriptions.items()]
    return "\n".join(
        (
            "Finds wrong labels, and trains classifiers despite them.",
            "\nusage: mentornet COMMAND [--flag=value ...]\n",
            *lines,
            "\n`mentornet COMMAND --help` lists a command's flags. Start with `mentornet clean`.",
        )
    )
