"""Release archives of etcd made from its own Go modules, for architectures and versions that are published nowhere.

``targets`` (for which machines), ``release`` (what of etcd, from where, by which commands) and ``explain`` (what went
wrong when ``go`` fails) decide and run nothing; ``golang`` runs ``go``, ``sources`` lays out what it fetched, ``pack``
writes the archive. ``plays/build_etcd.py`` puts them together.
"""
