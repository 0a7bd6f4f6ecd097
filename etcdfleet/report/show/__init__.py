"""What people see of a run, at a terminal or in a file: progress, table, checks, earlier runs."""
