"""Finding and correcting wrong labels: ranking, files and page of a ranking, `mentornet clean`."""
