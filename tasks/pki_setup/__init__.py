"""What Vault needs before a deploy can have certificates: the steps of ``runbooks/setup_pki.py``."""

from tasks.pki_setup.authority import authorities
from tasks.pki_setup.steps import approle, checks, mounts, policy, roles

__all__ = ["approle", "authorities", "checks", "mounts", "policy", "roles"]
