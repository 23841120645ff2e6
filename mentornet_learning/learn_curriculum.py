"""`mentornet learn` as a script."""

from mentornet.cli import script
from mentornet.cli.commands import learn

if __name__ == "__main__":
    script.run_command(learn)
