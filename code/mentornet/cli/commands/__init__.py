"""The commands of `mentornet`, one file each; the scripts in code/ run the same modules.

Each has `define_flags()` and `main()`, optionally `ARGUMENTS` (see `cli.script.run`), and a
docstring whose first paragraph is its description in the list of commands.
"""

from mentornet.core.registry import Registry

COMMANDS = Registry(__name__, attribute="main", argument="command")
