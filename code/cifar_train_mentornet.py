#!/usr/bin/env python3
"""`mentornet train` as a script."""

from mentornet.cli import script
from mentornet.cli.commands import train

if __name__ == "__main__":
    script.run_command(train)
