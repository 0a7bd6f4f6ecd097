"""What etcd shows and trusts on a host: keys, leaves, trust anchors, revocation lists, and their change."""
