#!/bin/sh
# Serves Ollama, and pulls the model named by MODEL, again and again until it is there. Ends with the server, also with one that
# cannot start, or on SIGTERM.
set -eu
ollama serve &
server=$!
trap 'kill "$server"' TERM INT
until ollama list >/dev/null 2>&1; do
  sleep 1
  kill -0 "$server"
done
{ until ollama pull "$MODEL"; do sleep 10; done; } &
pull=$!
# A signal ends the first wait; the server then has time to end.
wait "$server" || wait "$server" || true
kill "$pull" 2>/dev/null || true
