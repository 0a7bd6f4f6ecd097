"""Where the project is, and what tests keep beside themselves."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[3]
"""The project's folder."""
FIXTURES = ROOT / "tests" / "unit" / "fixtures"
"""What real etcd wrote and answered, by version."""
