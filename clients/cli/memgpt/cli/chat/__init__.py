"""The chat: an agent is chosen or created, then one turn follows the other."""
