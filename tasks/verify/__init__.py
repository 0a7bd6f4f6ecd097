"""Proof that a member and its cluster are as the inventory says."""
