"""Prints the peak memory of a command in MB: python benchmarks/peak.py COMMAND ...

Started by a small process: Linux counts what its parent held before the command was executed, too.
"""

import os
import subprocess
import sys


def main() -> None:
    process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    print(usage.ru_maxrss / 1024)
    sys.exit(status != 0)


if __name__ == "__main__":
    main()
