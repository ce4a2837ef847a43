"""Who may call what: credentials, and the permissions that the contracts declare."""
