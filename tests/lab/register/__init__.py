"""Clients that use a cluster as registers while something is done to it, and the judgement of what they were told."""
