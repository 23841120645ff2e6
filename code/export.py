#!/usr/bin/env python3
"""`mentornet export` as a script."""

from mentornet.cli import script
from mentornet.cli.commands import export

if __name__ == "__main__":
    script.run_command(export)
