"""The functions that the model may call, one module each: schema, handler, and line of the instructions."""

from memgpt_agent.functions.arguments import parse_call
from memgpt_agent.functions.function import Call, Function, FunctionError, FunctionOutput, MemorySearch, Parameter
from memgpt_agent.functions.json_schema import parameters_schema
from memgpt_agent.functions.registry import BUILT_IN, BUILT_IN_BY_NAME, functions_of

__all__ = [
    "BUILT_IN",
    "BUILT_IN_BY_NAME",
    "Call",
    "Function",
    "FunctionError",
    "FunctionOutput",
    "MemorySearch",
    "Parameter",
    "functions_of",
    "parameters_schema",
    "parse_call",
]
