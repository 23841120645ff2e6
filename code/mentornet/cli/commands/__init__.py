"""The commands of `mentornet`, one file each; the scripts in code/ run the same modules.

Each has `define_flags()` and `main()`, perhaps `ARGUMENTS` (see `cli.script.run`), and a docstring
whose first paragraph describes it in the list of commands.
"""

from mentornet.core.registry import Registry

COMMANDS = Registry(__name__, attribute="main", argument="command")
