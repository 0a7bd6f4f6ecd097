"""Members that come and go: what one host is asked, and does, for a change of its cluster's member list."""
