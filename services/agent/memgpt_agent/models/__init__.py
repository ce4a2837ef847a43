"""Chat models: any endpoint that speaks OpenAI's protocol, and the built-in offline model.

``base`` is the port that the loop knows, ``router`` picks the model that an agent names. Behind an endpoint:

- ``openai_model`` asks, and asks again: busy endpoints, thinking models, malformed answers, the other mode
- ``transport`` sends requests and reads the chunks of answers; the only module that knows the library
- ``request`` makes requests: histories, schemas, and the options that an endpoint takes, learned from its refusals
- ``answer`` reads answers: streams in any shape, calls written as text, small faults in their JSON
- ``modes`` remembers how each model calls functions; ``refused`` words refusals for people

What a refusal means is told by ``memgpt.endpoints``, which Memory and the command line share. ``offline`` holds the
built-in model.
"""
