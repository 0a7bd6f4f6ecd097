"""What is known about etcd itself: its data directories, its ids, etcdctl's answers, and what to do about them.

Everything here is pure: text, bytes and frozen data in, frozen data out. Nothing in it talks to a host.
"""
