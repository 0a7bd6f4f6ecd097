"""Snapshots of clusters on the controller: what is noted of each, where they lie, which is the newest good one."""
