"""Whether an expression calls functions that JMESPath has, with as many arguments as they take.

JMESPath's own compiler does not look: it fails on a real call's data, when nobody is there.
"""

from typing import Any

from jmespath.functions import Functions


def fault_in(node: dict[str, Any]) -> str | None:
    """The first wrong function call in a parsed expression; None when there is none."""
    if node.get("type") == "function_expression":
        fault = _fault_of_call(str(node["value"]), len(node["children"]))
        if fault is not None:
            return fault
    for child in node.get("children", []):
        if isinstance(child, dict) and (fault := fault_in(child)) is not None:
            return fault
    return None


def _fault_of_call(name: str, given: int) -> str | None:
    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        return f"There is no function {name}()"
    signature = known["signature"]
    is_variadic = bool(signature) and bool(signature[-1].get("variadic"))
    if given < len(signature) or (given > len(signature) and not is_variadic):
        takes = f"at least {len(signature)}" if is_variadic else str(len(signature))
        return f"{name}() takes {takes} arguments, not {given}"
    return None
