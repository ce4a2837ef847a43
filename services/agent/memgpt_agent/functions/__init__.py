"""The functions that the model may call: what they are, what arguments they take, and what they do."""

from memgpt_agent.functions.arguments import Call, FunctionError, parse_call
from memgpt_agent.functions.declarations import FUNCTIONS, FUNCTIONS_BY_NAME
from memgpt_agent.functions.execute import FunctionOutput, Searcher, execute
from memgpt_agent.functions.schema import Function, Parameter, parameters_schema

__all__ = [
    "FUNCTIONS",
    "FUNCTIONS_BY_NAME",
    "Call",
    "Function",
    "FunctionError",
    "FunctionOutput",
    "Parameter",
    "Searcher",
    "execute",
    "parameters_schema",
    "parse_call",
]
