"""What a person can do about a failure: one sentence for each kind of reason. Pure.

Reasons are kept as sentences of our own, so they are told apart by their words.
This only advises: nothing is decided by it.
"""

import re

_UNKNOWN = "Open one of them and look at its attempts; when the cause is mended, replay."

#: The first that fits the reason. What is about Twenty2 comes before what is about hooks.
_CURES: tuple[tuple[str, str], ...] = (
    (
        r"Twenty2 answered 40[13]",
        "Check the workspace's API key and secret, set them anew, then refetch.",
    ),
    (
        r"Twenty2 answered 404",
        "Twenty2 does not know this call: check its id and its workspace; "
        "refetch if it should be there by now.",
    ),
    (r"Twenty2 answered 429", "Nothing to do: it goes on when Twenty2 lets us ask again."),
    (
        r"Twenty2 answered 4\d\d",
        "Twenty2 refuses this id: check where it came from; refetch once it is right.",
    ),
    (r"Twenty2", "Twenty2 had a fault: refetch when it works again."),
    # Of CRMs: what the engine says of a step, and what the CRM said.
    (
        r"for review: there is no phone number",
        "Nobody can be found without a number: look into the call, and write it into the CRM "
        "by hand if it matters.",
    ),
    (
        r"for review: \d+ people",
        "Merge them in the CRM, or let the destination choose (“When several people have it”), "
        "then replay.",
    ),
    (r"for review", "A person has to decide: look at it in the CRM, then replay."),
    (
        r"refuses the credentials",
        "The CRM does not take our credentials: make new ones there, set them at the "
        "destination, check the connection, then replay.",
    ),
    (
        r"knows nobody with this number",
        "Add the person in the CRM, or let the destination make new people, then send it again.",
    ),
    (
        r"later version of this call",
        "Nothing to do: the CRM has what is newer.",
    ),
    (
        r"takes no more requests|day's limit|(?<![Tt]he hook) answered 429\b",
        "Nothing to do while it waits: it goes on when the CRM takes requests again. "
        "Given up on, replay it later.",
    ),
    (
        r"answer of .+ never came",
        "Nothing to do: the CRM is asked what it did before anything is sent again.",
    ),
    (
        r"knows no CRM of the kind",
        "Update aftercall to the version that the destination was made with: it goes on by itself.",
    ),
    (
        r"(?<![Tt]he hook) answered 401\b",
        "The CRM does not take our credentials (any more): set new ones at the destination, "
        "check the connection, then replay.",
    ),
    (
        r"(?<![Tt]he hook) answered 403\b",
        "Something is not allowed to our credentials: “Check the connection” at the destination "
        "says what; allow it in the CRM, then replay.",
    ),
    (
        r"(?<![Tt]he hook) answered (?!404|410)\d\d\d: .*(does not exist"
        r"|no such (field|property|column)|unknown (field|property)|no property|column given)",
        "The CRM has no such field: “Check the connection” at the destination says which; make "
        "it there or map another, then replay.",
    ),
    (
        r"(?<![Tt]he hook) answered \d\d\d: .*(read.?only|not (editable|writeable|writable))",
        "The CRM does not let this field be written: map another, then replay.",
    ),
    (
        r"(?<![Tt]he hook) answered (2\d\d|400|422|500): "
        r".*(required|mandatory|missing|needs|can't be empty)",
        "The CRM wants a field that is not mapped: map it, with a default if calls do not always "
        "say it, then replay.",
    ),
    (
        r"(?<![Tt]he hook) answered (2\d\d|400|422|500): "
        r".*(allowed option|invalid (option|value|picklist)|picklist|not one of)",
        "The CRM has no such option: say in the field's choices which one is meant, then replay.",
    ),
    # LeadSquared refuses with 500, others with 200: what was tried once alone was refused.
    (
        r"(?<![Tt]he hook) answered (400|422)\b"
        r"|^(?!gave up).*(?<![Tt]he hook) answered [25]\d\d: ",
        "The CRM refuses a value: its answer says which field; correct the mapping (its type, "
        "mostly), then replay.",
    ),
    (
        r"(?<![Tt]he hook) answered (404|410)\b",
        "What was to be changed is not there any more, or the address is wrong: check the "
        "connection, then replay; they are looked for anew.",
    ),
    (r"(?<![Tt]he hook) answered 5\d\d", "The CRM had a fault: replay when it works again."),
    (
        r"did not say (the|their) id|but not with JSON",
        "The CRM answered what no CRM of its kind does: check the address of the destination, "
        "then replay.",
    ),
    (
        r"is still (initiated|connected)|unknown status",
        "The call did not end within two days at Twenty2: look at it there, then refetch.",
    ),
    (
        r"worker was lost",
        "It ended the worker three times: look into the worker's log for this id "
        "before it is tried again.",
    ),
    (
        r"filter failed",
        "Correct the destination's filter (its preview shows the fault), then replay.",
    ),
    (
        r"mapping failed",
        "Correct the destination's mapping (its preview shows the fault), then replay.",
    ),
    (
        r"hook answered 40[13]\b",
        "The CRM refuses our credentials: correct the destination's headers, then replay.",
    ),
    (
        r"hook answered (404|405)\b",
        "There is no such hook: correct the destination's URL, then replay.",
    ),
    (r"hook answered 410\b", "The CRM wants no more: if it should, enable the destination."),
    (r"hook answered 413\b", "The body is too large for the CRM: map fewer fields, then replay."),
    (
        r"hook answered (400|415|422)\b",
        "The CRM does not understand the body: compare its answer with the mapping, "
        "correct one of them, then replay.",
    ),
    (r"hook answered 429\b", "The CRM wants it slower: set the destination's limit, then replay."),
    (
        r"hook answered 3\d\d|redirects",
        "The hook has moved: give the destination its final URL, then replay.",
    ),
    (r"hook answered 5\d\d", "The CRM had a fault: replay when it works again."),
    (
        r"not a public address|ALLOWED_PRIVATE_NETWORKS",
        "The URL leads into a private network: correct it, or allow the network with "
        "AFTERCALL_ALLOWED_PRIVATE_NETWORKS, then replay.",
    ),
    (
        r"AFTERCALL_SECRET_KEY|does not open",
        "What is stored does not open with AFTERCALL_SECRET_KEY: give the right key, "
        "or set the secret anew.",
    ),
    (
        r"destination was removed",
        "Its destination was removed: make it anew and replay the call to it.",
    ),
    (
        r"certificate that can be trusted|no TLS connection",
        "Its certificate is not good: expired, of another name, or signed by nobody who is known. "
        "Who runs it has to renew it; then replay.",
    ),
    (
        r"no complete answer|connect or answer in time|closed the connection|does not decode",
        "It could not be reached: see whether its address is right and it is up, then replay.",
    ),
    (r"is not JMESPath|Correct the destination", "Correct the destination, then replay."),
)


def cure_for(reason: str | None, *, held: bool = False) -> str:
    """What to do about it. `held`: the destination is disabled."""
    if held:
        return (
            "Enable the destination when it works again (“Resume” in the console): what is held "
            "goes on its way then."
        )
    for pattern, cure in _CURES:
        if reason and re.search(pattern, reason, re.IGNORECASE):
            return cure
    return _UNKNOWN


def cure_for_block(reason: str, *, has_credentials: bool) -> str:
    """What to do about a workspace that is blocked. Its calls wait and are not lost."""
    if not has_credentials:
        return "Set its API key and secret: they are in Twenty2's dashboard."
    if "429" in reason:
        return "Nothing to do: it goes on by itself. If it comes often, set a lower limit."
    return (
        "Copy the API key and the secret anew from Twenty2's dashboard and set them: "
        "the calls that wait go on at once."
    )
