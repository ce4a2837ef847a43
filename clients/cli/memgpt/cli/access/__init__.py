"""Who may call: profiles of servers with their credentials, tenants, API keys and quotas."""
