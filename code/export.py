#!/usr/bin/env python3
"""`mentornet export` under the name that it has in this folder."""

from mentornet.cli import script
from mentornet.cli.commands import export

if __name__ == "__main__":
    script.run_command(export)
