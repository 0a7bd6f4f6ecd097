"""Root file systems of the host kinds, built once and shared by every host of that kind."""
