"""Learning a MentorNet: curricula, training rows, teaching, quality."""
