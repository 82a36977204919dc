"""What runs inside a Python engine host: `PYTHON -m loader.host`. Knows no server, no configuration."""
