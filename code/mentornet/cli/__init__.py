"""Command-line interface: start-up, errors, flags and pages of the scripts."""
