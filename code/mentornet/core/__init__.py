"""The basis of all other folders: errors, files, seeds, schedules, replicas."""
