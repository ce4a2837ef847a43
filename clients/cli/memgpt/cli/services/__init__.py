"""The services behind a command: configured, found running, or started for it."""
