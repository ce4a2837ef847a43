"""Who may call what: credentials, and the permissions that the contracts declare.

================= ====================================================================================
`permissions`     the permissions that the contracts declare, and the roles that have them
`exposure`        refuses to listen beyond loopback without credentials or without TLS
`authenticator`   `Authenticator`, which knows the caller by its credential, whatever its kind
`api_keys`        the format of API keys; `ApiKeyCache`, which checks them without asking Memory at every call
`memory_api_keys` asks Memory about API keys
`service_keys`    the keys with which the services authenticate to one another
`certificates`    client certificates, mapped to tenants and roles by settings
`jwt_tokens`      JSON Web Tokens of an OpenID provider; `jwks` keeps the provider's keys
`open_streams`    ends streams whose credential becomes invalid
`restrictions`    refuses requests that name an agent or a source which the caller's key does not permit
================= ====================================================================================
"""
