"""etcd's roles, users and authentication."""
