"""Requests as real clients send them, each with the exact body that the model server gets of it."""

from typing import Any

from opencharacter.characters import CharacterProfile, system_prompt

PROMPT = system_prompt(CharacterProfile(name="Ada"))
ADA = {"character": {"name": "Ada"}}
HELLO = [{"role": "user", "content": "hello"}]


def message(role: str, content: Any, **keys: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **keys}


def body(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **fields}


CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}

# SillyTavern's prompt manager in its default order, and its sampling fields for a custom endpoint.
TAVERN = [
    message("system", "Write Ada's next reply in a fictional chat between Ada and Bo."),
    message("system", "Ada is a baker in Lima."),
    message("system", "[Example Chat]"),
    message("system", "Do you bake?", name="example_user"),
    message("system", "Every night.", name="example_assistant"),
    message("system", "[Start a new Chat]"),
    message("assistant", "*waves* You are early."),
    message("user", "The bus was fast."),
    message("system", "[Keep it short.]"),
]
TAVERN_SYSTEM = (
    "Write Ada's next reply in a fictional chat between Ada and Bo.\n\nAda is a baker in Lima.\n\n[Example Chat]\n\n"
    "User: Do you bake?\n\n{speaker}: Every night.\n\n[Start a new Chat]"
)
TAVERN_TURNS = [
    message("assistant", "*waves* You are early."),
    message("user", "The bus was fast.\n\n[Keep it short.]"),
]
TAVERN_SAMPLING = {
    "temperature": 1, "max_tokens": 300, "presence_penalty": 0, "frequency_penalty": 0, "top_p": 1, "logit_bias": {},
    "stop": ["\nBo:"], "seed": 7,
}  # fmt: skip

SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "SillyTavern, default order, no character": (
        {"model": "m", "messages": TAVERN, **TAVERN_SAMPLING},
        body(message("system", TAVERN_SYSTEM.format(speaker="Character")), *TAVERN_TURNS, **TAVERN_SAMPLING),
    ),
    "SillyTavern, default order, with a character": (
        {"messages": TAVERN, "user_name": "Bo", **ADA},
        body(
            message(
                "system",
                f"{PROMPT}\n\nYou are talking with Bo.\n\n"
                + TAVERN_SYSTEM.format(speaker="Ada").replace("User: Do", "Bo: Do"),
            ),
            *TAVERN_TURNS,
        ),
    ),
    "SillyTavern, examples that carry their names already": (
        {
            "messages": [
                message("system", "Ada: Every night.", name="example_assistant"),
                message("user", "hello"),
            ],
            **ADA,
        },
        body(message("system", f"{PROMPT}\n\nAda: Every night."), *HELLO),
    ),
    "post-processing merge": (
        {
            "messages": [
                message("system", "A\n\nB"), message("assistant", "Hi."), message("user", "Bo: hello"),
                message("system", "[Short.]"),
            ]
        },
        body(message("system", "A\n\nB"), message("assistant", "Hi."), message("user", "Bo: hello\n\n[Short.]")),
    ),
    "post-processing semi": (
        {"messages": [message("system", "A"), message("assistant", "Hi."), message("user", "hello\n\n[Short.]")]},
        body(message("system", "A"), message("assistant", "Hi."), message("user", "hello\n\n[Short.]")),
    ),
    "post-processing strict": (
        {
            "messages": [
                message("system", "A"), message("user", "Let's get started."), message("assistant", "Hi."),
                message("user", "hello"),
            ]
        },
        body(
            message("system", "A"), message("user", "Let's get started."), message("assistant", "Hi."),
            message("user", "hello"),
        ),
    ),
    "post-processing single": (
        {"messages": [message("user", "A\n\nAda: Hi.\n\nBo: hello")], **ADA},
        body(message("system", PROMPT), message("user", "A\n\nAda: Hi.\n\nBo: hello")),
    ),
    "continue with a nudge": (
        {
            "messages": [
                message("system", "A"), message("user", "hello"), message("assistant", "Good"),
                message("system", "[Continue the following message: Good]"),
            ]
        },
        body(
            message("system", "A"), message("user", "hello"), message("assistant", "Good"),
            message("user", "[Continue the following message: Good]"),
        ),
    ),
    "continue and prefill": (
        {"messages": [*HELLO, message("assistant", "Good mor")], **ADA},
        body(message("system", PROMPT), *HELLO, message("assistant", "Good mor"), **CONTINUE),
    ),
    "prefill marked in the ways of other servers": (
        {"messages": [*HELLO, message("assistant", "Good mor", prefix=True, partial=True)]},
        body(*HELLO, message("assistant", "Good mor"), **CONTINUE),
    ),
    "an empty prefill asks for a new answer": (
        {"messages": [*HELLO, message("assistant", "")]},
        body(*HELLO),
    ),
    "impersonate": (
        {
            "messages": [
                message("system", "A"), message("user", "hello"), message("assistant", "Hi."),
                message("system", "[Write your next reply from the point of view of Bo.]"),
            ]
        },
        body(
            message("system", "A"), message("user", "hello"), message("assistant", "Hi."),
            message("user", "[Write your next reply from the point of view of Bo.]"),
        ),
    ),
    "a quiet prompt of system messages alone": (
        {"messages": [message("system", "A"), message("system", "Summarise the story.")], **ADA},
        body(message("system", f"{PROMPT}\n\nA"), message("user", "Summarise the story.")),
    ),
    "an author's note in the history": (
        {
            "messages": [
                message("user", "hello"), message("assistant", "Hi."), message("system", "[It rains.]"),
                message("user", "Shall we?"),
            ],
            **ADA,
        },
        body(
            message("system", PROMPT), *HELLO, message("assistant", "Hi."),
            message("user", "[It rains.]\n\nShall we?"),
        ),
    ),
    "a group chat by names": (
        {
            "messages": [
                message("user", "hello", name="Bo"), message("user", "good day", name="Cy"),
                message("assistant", "Hi both.", name="Ada"), message("user", "Ada: is it late?", name="Ada"),
            ]
        },
        body(
            message("user", "Bo: hello\n\nCy: good day"), message("assistant", "Hi both."),
            message("user", "Ada: is it late?"),
        ),
    ),
    "one name a role": (
        {"messages": [message("user", "hello", name="Bo"), message("assistant", "Hi.", name="Ada"), *HELLO], **ADA},
        body(message("system", PROMPT), *HELLO, message("assistant", "Hi."), *HELLO),
    ),
    "ids and echoes of answers": (
        {
            "messages": [
                message("user", "hello", id="msg-1"),
                message(
                    "assistant", "Hi.", id="msg-2", reasoning_content="I greet.", reasoning="I greet.", refusal=None,
                    annotations=[{"type": "url_citation"}], audio=None, tool_calls=[], function_call=None,
                ),
                message("user", "bye"),
            ]
        },
        body(*HELLO, message("assistant", "Hi."), message("user", "bye")),
    ),
    "assistant content null": (
        {"messages": [*HELLO, message("assistant", None), message("user", "still there?")]},
        body(message("user", "hello\n\nstill there?")),
    ),
    "text parts": (
        {
            "messages": [
                message("developer", [{"type": "text", "text": "Be brief."}]),
                message("user", [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}, "c"]),
            ]
        },
        body(message("system", "Be brief."), message("user", "a\nb\nc")),
    ),
    "fields that ask for nothing": (
        {
            "messages": HELLO, "tools": [], "tool_choice": "none", "parallel_tool_calls": True, "functions": [],
            "function_call": "auto", "modalities": ["text"], "reasoning_effort": "low", "verbosity": "low",
            "session_id": "s", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "audio": None,
            "prediction": {"type": "content", "content": "x"}, "use_beam_search": False, "echo": False,
        },
        body(*HELLO),
    ),
    "null fields": (
        {"messages": HELLO, "model": None, "character": None, "tools": None, "seed": None, "scenario": None, "x": None},
        body(*HELLO),
    ),
    "tools that must not be called": (
        {"messages": HELLO, "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"},
        body(*HELLO),
    ),
    "Open WebUI's sampling fields": (
        {
            "messages": HELLO, "stream": True, "repeat_penalty": 1.1, "top_k": 40, "min_p": 0.05, "mirostat": 0,
            "num_ctx": 4096, "keep_alive": "5m", "chat_id": "c", "session_id": "s",
            "user": {"name": "Bo", "id": "u-1", "email": "bo@example.com", "role": "user"},
        },
        body(
            *HELLO, stream=True, repetition_penalty=1.1, top_k=40, min_p=0.05, user="u-1",
            stream_options={"include_usage": True},
        ),
    ),
    "LM Studio's example, whose length has no limit": (
        {"model": "m", "messages": HELLO, "temperature": 0.7, "max_tokens": -1, "stream": False},
        body(*HELLO, temperature=0.7, stream=False),
    ),
    "an explicit repetition penalty wins": (
        {"messages": HELLO, "repeat_penalty": 1.1, "repetition_penalty": 1.2},
        body(*HELLO, repetition_penalty=1.2),
    ),
    "LangChain's ChatOpenAI": (
        {
            "messages": [message("system", "Be brief."), *HELLO], "model": "m", "stream": True,
            "stream_options": {"include_usage": True}, "temperature": 0.7, "max_completion_tokens": 20, "n": 2,
        },
        body(
            message("system", "Be brief."), *HELLO, stream=True, stream_options={"include_usage": True},
            temperature=0.7, max_completion_tokens=20, n=2,
        ),
    ),
    "usage of a stream, with options of OpenAI's own": (
        {
            "messages": HELLO, "stream": True,
            "stream_options": {"include_obfuscation": False, "continuous_usage_stats": True},
        },
        body(*HELLO, stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True}),
    ),
    "stream options without a stream": (
        {"messages": HELLO, "stream": False, "stream_options": {"include_usage": True}},
        body(*HELLO, stream=False),
    ),
    "structured outputs": (
        {"messages": HELLO, "structured_outputs": {"choice": ["yes", "no"]}},
        body(*HELLO, structured_outputs={"choice": ["yes", "no"]}),
    ),
    "prompt truncation": (
        {"messages": HELLO, "truncate_prompt_tokens": 1, "truncation_side": "left", **ADA},
        body(message("system", PROMPT), *HELLO),
    ),
    "a system message and a character": (
        {"messages": [message("system", "Answer in Spanish."), *HELLO], **ADA},
        body(message("system", f"{PROMPT}\n\nAnswer in Spanish."), *HELLO),
    ),
    "scenario, user's name, greeting and example dialogue": (
        {
            "messages": HELLO, "scenario": "{{char}} meets {{user}} at the docks.", "user_name": "Bo",
            "greeting": "Ahoy, {{user}}!", "example_dialogue": "<START>\n{{user}}: Hi\n{{char}}: Ahoy\n<START>\nx",
            **ADA,
        },
        body(
            message(
                "system",
                f"{PROMPT}\n\nScenario:\nAda meets Bo at the docks.\n\nExample dialogue:\nBo: Hi\nAda: Ahoy\n\nx\n\n"
                "You are talking with Bo.",
            ),
            message("assistant", "Ahoy, Bo!"), *HELLO,
        ),
    ),
    "a greeting that the history has already": (
        {"messages": [message("assistant", "Hi."), *HELLO], "greeting": "Ahoy!", **ADA},
        body(message("system", PROMPT), message("assistant", "Hi."), *HELLO),
    ),
    "a scenario without a character": (
        {"messages": HELLO, "scenario": "Two strangers on a train."},
        body(message("system", "Scenario:\nTwo strangers on a train."), *HELLO),
    ),
}  # fmt: skip
