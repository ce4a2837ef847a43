"""The asynchronous client. The synchronous one, in `memgpt.client._sync`, is generated from it."""
