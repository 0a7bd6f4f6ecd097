"""What happens to a host: Nornir task functions, one module per concern, each readable on its own."""
