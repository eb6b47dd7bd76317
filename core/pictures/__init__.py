"""Pictures as a user has them: read with all that belongs to them, written row by row or whole."""
