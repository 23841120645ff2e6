#!/usr/bin/env python3
"""`mentornet evaluate` as a script."""

from mentornet.cli import script
from mentornet.cli.commands import evaluate

if __name__ == "__main__":
    script.run_command(evaluate)
