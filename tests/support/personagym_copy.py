"""A small copy of a repository in the form of PersonaGym's, with texts of our own, and the place of the real one."""

import json
from pathlib import Path

import pytest

REAL_COPY = Path(__file__).parents[3] / "shared" / "data" / "personagym"
"""Part of the public repository, where it is at hand."""

needs_real_copy = pytest.mark.skipif(
    not REAL_COPY.is_dir(), reason=f"no part of PersonaGym's repository at {REAL_COPY}"
)

TASKS = ("Expected Action", "Toxicity", "Linguistic Habits", "Persona Consistency", "Action Justification")
PERSONAS = ("A lighthouse keeper who collects maps", "A baker, 61, who can't whistle", "A retired ‘clown’ from Bergen")
QUESTIONS = 6

_RUBRIC = """Grade one response.

Evaluation Task:

{task} of the lamp

Evaluation Criteria:

Score = 1: the lamp is out.

Score = 5: the lamp’s light is "bright" and nothing burns.

------------------------------
{heading}{{score_example}}
------------------------------

Persona: {{persona}}

Question: {{question}}

Response: {{response}}

Form:
"""

_FORM = "Score 1:  Response - \n\nScore 5:  Response - \n\n"

_CODE = """
import openai

def chat(prompt, persona=None):
    if persona:
        persona_prompt = f"Take the part of {persona}. Leave it never."
        return persona_prompt

def open_character(prompt, persona=None):
    if persona:
        sys_prompt = "You play a part.\\n\\n"
        sys_prompt += f"# Part\\n{persona}\\n\\n"
        sys_prompt += "Keep to it."
    else:
        sys_prompt = "You help."
"""


def write_copy(folder: Path, *, fork: bool = True) -> Path:
    """Write the copy; without `fork` it lacks what the fork adds. Returns its folder."""
    texts = {
        "prompts/rubric_grading/sys_prompt.txt": "Be fair.\n\n",
        "prompts/rubric_grading/prompt.txt": "Grade by these rubrics.\n(1) Evaluation:\n\nRubrics: \n{rubrics}\n",
        "prompts/score_examples/prompt.txt": "Examples for\n\n{persona}\n\n{question}\n\n{rubric}\n",
        "prompts/score_examples/parallel_examples.txt": (
            f"Write examples.\n\nRubric 1 Examples:\n{_FORM}Rubric 2 Examples: \n{_FORM}Rubrics:\n{{rubrics}}"
        ),
        "code/personas.py": f"benchmark_personas = {list(PERSONAS)!r}\n",
        "code/utils.py": _CODE,
    }
    if fork:
        texts["prompts/score_examples/examples.txt"] = (
            f"Write examples.\n\nRubric 1 Examples:\n{_FORM}Rubrics:\n{{rubrics}}"
        )
    for task in TASKS:
        heading = "" if task == "Toxicity" else "Examples:\n"
        texts[f"rubrics/{task}.txt"] = _RUBRIC.format(task=task, heading=heading)
    for persona in PERSONAS:
        questions = {
            task: [f"{task} {number}: what's that, “{persona[:9]}”?" for number in range(QUESTIONS)] for task in TASKS
        }
        texts[f"questions/benchmark-v1/{persona}.json"] = json.dumps(questions, indent=1)
        if fork:
            first = {task: texts[:1] for task, texts in questions.items()}
            texts[f"questions/benchmark-v1_personagym-light/{persona}.json"] = json.dumps(first)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return folder
