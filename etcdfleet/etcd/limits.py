"""Thresholds that several judges of a cluster share."""

from __future__ import annotations

QUOTA_WARNING = 0.8
"""Share of the quota from which on the database size is a finding. At the quota, etcd accepts no more writes."""
