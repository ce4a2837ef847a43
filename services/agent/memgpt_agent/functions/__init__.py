"""The functions that the model may call: what they are, what arguments they take, and what they do."""

from memgpt_agent.functions.arguments import Call, FunctionError, parse_call
from memgpt_agent.functions.declarations import BUILT_IN, BUILT_IN_BY_NAME
from memgpt_agent.functions.execute import FunctionOutput, Searcher, execute
from memgpt_agent.functions.schema import Function, Parameter, parameters_schema
from memgpt_agent.functions.toolbox import functions_of

__all__ = [
    "BUILT_IN",
    "BUILT_IN_BY_NAME",
    "Call",
    "Function",
    "FunctionError",
    "FunctionOutput",
    "Parameter",
    "Searcher",
    "execute",
    "functions_of",
    "parameters_schema",
    "parse_call",
]
