"""The same as cifar_prepare_data.py, under a name that suits data of one's own."""

import cifar_prepare_data
from mentornet import cli

if __name__ == "__main__":
    cli.run(cifar_prepare_data.main)
