#!/usr/bin/env python3
"""`mentornet report` as a script."""

from mentornet.cli import script
from mentornet.cli.commands import report

if __name__ == "__main__":
    script.run_command(report)
