"""What the scripts share: start, errors, flags, pages."""
