"""Thresholds that several judges of a cluster share."""

from __future__ import annotations

QUOTA_WARNING = 0.8
"""Share of the quota from which on the database size is a finding. At the quota, etcd accepts no more writes."""
MAX_LAG = 1000
"""Entries that a member may be behind the most advanced one: far below the 5000 that a leader keeps for slow followers
(``DefaultSnapshotCatchUpEntries`` in ``server.go``), far above what such hosts write between two answers."""
