"""What a run did: recorded while it happens, kept on disk, read again, and free of secrets."""
