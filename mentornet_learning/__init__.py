"""Learning a MentorNet: curricula, their data, and training."""
