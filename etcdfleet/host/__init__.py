"""What is true of a host, and whether that is fit for etcd: facts, paths, checks before a deploy, advice."""
