"""The folder of a training run: files, checkpoints, logs."""
