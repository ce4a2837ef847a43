"""Parsing of untrusted files in separate processes, bounded in memory and time.

| module | what |
| --- | --- |
| `pool` | the pool of parser processes |
| `process` | one parser process, as seen from the Loader |
| `worker` | the program that a parser process runs |
| `frames` | the messages between the two |
| `parser_limits`, `results` | what a parser may use, and what it returns |
| `extract` | extracting the passages of a file |
| `libreoffice`, `limited` | converting legacy office documents first, by a program that runs within limits |

Importing this package imports nothing else, so that a parser process starts quickly.
"""
