#!/usr/bin/env python3
"""`mentornet prepare` as a script."""

from mentornet.cli import script
from mentornet.cli.commands import prepare

if __name__ == "__main__":
    script.run_command(prepare)
