"""The command line: argv → settings → exit code, one file per command."""
