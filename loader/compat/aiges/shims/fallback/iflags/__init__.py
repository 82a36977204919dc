"""What wrappers of the first generation import for logging."""
