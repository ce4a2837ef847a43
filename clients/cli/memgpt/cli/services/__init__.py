"""The services that a command uses: configured, already running, or started for it."""
