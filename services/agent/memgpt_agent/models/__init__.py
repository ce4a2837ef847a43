"""Chat models: any endpoint that speaks OpenAI's protocol, and the built-in offline model.

``base`` is the port that the loop knows, ``router`` picks the model that an agent names. For an endpoint (its settings
are in ``endpoint``):

- ``openai_model`` calls the endpoint and retries: busy endpoints, thinking models, malformed answers, the other mode
- ``transport`` sends requests and reads the chunks of answers; the only module that imports the client library
- ``request`` makes requests: histories, schemas, and the options that an endpoint takes, learned from its refusals
- ``answer`` reads answers: streams in any shape, calls written as text, small faults in their JSON
- ``modes`` remembers how each model calls functions; ``refusal_errors`` explains refusals to people

``memgpt.endpoints``, shared with Memory and the command line, classifies refusals. ``offline`` holds the
built-in model.
"""
