"""The SDK of AIGES, as far as wrappers use it, by engine-loader."""

__version__ = "0.16.0"
