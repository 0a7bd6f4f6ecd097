"""Clusters at a glance: what was seen of them, and what is to be said about it, the worst first."""
