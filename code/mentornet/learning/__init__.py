"""Learning a MentorNet: curricula, their training rows, the training, its quality."""
