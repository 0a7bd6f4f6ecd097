"""What every runbook has in common: command line, choice of hosts, the run itself, and its end."""
