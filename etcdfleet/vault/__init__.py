"""Vault (or OpenBao, which speaks the same API): where it is, how to log in, and what the runbooks ask of its PKI.

Nothing outside this package knows that there is a Vault, and nothing in here is imported from hvac before it is needed.
"""

from etcdfleet.vault.answers import Issued, RoleFacts, Status, TokenInfo
from etcdfleet.vault.client import Vault, policy_for
from etcdfleet.vault.connection import AppRoleAuth, Secret, TokenAuth, VaultConnection

__all__ = [
    "AppRoleAuth",
    "Issued",
    "RoleFacts",
    "Secret",
    "Status",
    "TokenAuth",
    "TokenInfo",
    "Vault",
    "VaultConnection",
    "policy_for",
]
