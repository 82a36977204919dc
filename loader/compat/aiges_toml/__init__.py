"""`aiges.toml` as a configuration of ours: what every key became, and a center that follows the file."""
