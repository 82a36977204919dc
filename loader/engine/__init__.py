"""Engines as processes: what is served (spec), one host process, restarts, and their supervisor."""
