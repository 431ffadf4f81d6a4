"""A detector's faces of one file -> what is said of it."""
