#!/usr/bin/env python3
"""The same as cifar_prepare_data.py, under a name that suits your own data."""

from absl import flags

import cifar_prepare_data
from mentornet.cli import script

flags.adopt_module_key_flags(cifar_prepare_data)

if __name__ == "__main__":
    script.run(cifar_prepare_data.main)
