"""Where the service's configuration lives. Here: the file itself, watched."""

from loader.center.file import FileCenter, Revision

__all__ = ["FileCenter", "Revision"]
