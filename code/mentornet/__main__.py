"""Makes `python -m mentornet` the command `mentornet`."""

from mentornet.cli.front import main

if __name__ == "__main__":
    main()
