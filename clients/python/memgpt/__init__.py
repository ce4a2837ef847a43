"""MemGPT on Milvus for Python: a typed client (`memgpt.client`), the command line, and the generated stubs.

The stubs lie under the protos' own names, such as `memgpt.agent.v1.agent_service_pb2`.
"""
