"""Ways for what was written for other servers to run here. Each knows the author's world, none the server."""
