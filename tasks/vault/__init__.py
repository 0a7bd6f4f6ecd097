"""What Vault needs before a deploy can have certificates: the steps of setup_pki.py, whose rows are clusters."""
