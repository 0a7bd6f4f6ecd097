"""What status.py reads of a host and its member."""
