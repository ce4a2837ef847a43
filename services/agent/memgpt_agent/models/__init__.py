"""Chat models: the port that the loop asks, the offline model, and any endpoint that speaks OpenAI's protocol."""
