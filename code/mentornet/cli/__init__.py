"""Command-line interface: start-up, errors and flags of the scripts."""
