"""What differs between hosts and sites, one driver each: init systems, package managers, sources of certificates."""
