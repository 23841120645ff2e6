"""Data sets: sources, label noise, records, and the input pipeline."""
