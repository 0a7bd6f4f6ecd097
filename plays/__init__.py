"""What is done to one cluster, step by step. A play takes a `Run`, and knows no shell, no X.509, no other cluster."""
