"""Statistics of each sample in training, and what they say of wrong labels."""
