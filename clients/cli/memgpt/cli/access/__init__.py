"""Who may call: server profiles with their credentials, tenants, API keys and quotas."""
