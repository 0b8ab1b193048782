"""Stories of people, places and things, with questions whose answers take one to three facts.

They are of the kind of the first three bAbI tasks (Weston et al., "Towards AI-Complete Question
Answering", 2015), by a program and in words of our own:

    1  Where is Clara?                      where she went last
    2  Where is the key?                    who had it last, and where he or she went last till then
    3  Where was the key before the museum? who took it, and two places where it was, in turn

A story is drawn at random, event by event, until its last question can be asked and has one answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

PEOPLE = ("Anna", "Boris", "Clara", "David", "Emma", "Felix", "Grace", "Henry")
PLACES = ("library", "market", "station", "harbor", "theatre", "museum", "bakery", "castle")
THINGS = ("lantern", "hammer", "ticket", "violin", "basket", "letter", "key", "coin")
GOES = ("{} went into the {}.", "{} walked to the {}.", "{} is now at the {}.")
TAKES = ("{} picked up the {}.", "{} took the {}.", "{} grabbed the {}.")
DROPS = ("{} put down the {}.", "{} dropped the {}.", "{} left the {} behind.")
#: For each task, how many people, things and sentences a story has, from and to.
SIZES = {
    1: ((2, 4), (0, 1), (4, 8)),
    2: ((2, 3), (1, 2), (5, 9)),
    3: ((2, 3), (1, 2), (6, 10)),
}


@dataclass(frozen=True)
class Story:
    """Sentences, a question, and its answer.

    Attributes
    ----------
    sentences : tuple of str
    question, answer : str
        The answer is one of the `PLACES`.
    facts : tuple of int
        Sentences that the answer follows from, in their order.
    where : int
        Which of them names the answer.
    """

    sentences: tuple[str, ...]
    question: str
    answer: str
    facts: tuple[int, ...]
    where: int

    @property
    def passage(self) -> str:
        """All sentences."""
        return " ".join(self.sentences)


class Stay(NamedTuple):
    """A thing at a place: two sentences that say so, of a person who has it, and of a journey.

    Those of its arrival are kept, as what was before follows from them.
    """

    place: str
    arrival: tuple[int, int]
    latest: tuple[int, int]


class World:
    """Where everybody and everything is, and which sentences say so."""

    def __init__(self, rng: np.random.Generator, task: int) -> None:
        self.rng = rng
        (people, things, _) = SIZES[task]
        self.people = self.some(PEOPLE, people)
        self.things = self.some(THINGS, things)
        self.sentences: list[str] = []
        #: Of each person, the place and the sentence of the last journey.
        self.at: dict[str, tuple[str, int]] = {}
        #: Of each thing that is carried, by whom, and the sentence.
        self.carried: dict[str, tuple[str, int]] = {}
        #: Of each thing, its places.
        self.been: dict[str, list[Stay]] = {thing: [] for thing in self.things}

    def some(self, names: tuple[str, ...], sizes: tuple[int, int]) -> list[str]:
        """Draw names without one twice."""
        count = self.rng.integers(sizes[0], sizes[1] + 1)
        return [str(name) for name in self.rng.choice(names, count, replace=False)]

    def one(self, names: list[str]) -> str:
        """Draw a name."""
        return names[self.rng.integers(len(names))]

    def step(self) -> None:
        """Let something happen: a journey, or if that can be, a thing taken or put down."""
        here = [person for person in self.people if person in self.at]
        lying = [thing for thing in self.things if thing not in self.carried]
        kind = self.rng.random()
        if kind < 0.3 and lying and here:
            self.take(self.one(lying), here)
        elif kind < 0.4 and self.carried:
            self.drop(self.one(list(self.carried)))
        else:
            self.go(self.one(self.people))

    def say(self, forms: tuple[str, ...], *names: str) -> int:
        """Write a sentence, and return its number."""
        self.sentences.append(self.one(list(forms)).format(*names))
        return len(self.sentences) - 1

    def go(self, person: str) -> None:
        """Let a person go somewhere else, with all that he or she carries."""
        before = self.at.get(person, ("", 0))[0]
        place = self.one([place for place in PLACES if place != before])
        number = self.say(GOES, person, place)
        self.at[person] = place, number
        for thing, (holder, taken) in self.carried.items():
            if holder == person:
                self.been[thing].append(Stay(place, (taken, number), (taken, number)))

    def take(self, thing: str, people: list[str]) -> None:
        """Let somebody take a thing, who is where it lies if that is known."""
        if self.been[thing]:
            place = self.been[thing][-1].place
            people = [person for person in people if self.at[person][0] == place]
        if not people:
            return self.go(self.one(self.people))
        person = self.one(people)
        taken = self.say(TAKES, person, thing)
        self.carried[thing] = person, taken
        self.touch(thing, person, taken)
        return None

    def drop(self, thing: str) -> None:
        """Let a thing be put down where its holder is."""
        person, _ = self.carried.pop(thing)
        self.touch(thing, person, self.say(DROPS, person, thing))

    def touch(self, thing: str, person: str, number: int) -> None:
        """Note where a thing is by the person who took it, or put it down, in that sentence."""
        place, journey = self.at[person]
        latest = number, journey
        stays = self.been[thing]
        stays[-1:] = [Stay(place, stays[-1].arrival if stays else latest, latest)]


def ask(world: World, task: int) -> Story | None:
    """Ask a question of a task, or None if the story has none."""
    said = tuple(world.sentences)
    if task == 1:
        people = [person for person in world.people if person in world.at]
        person = world.one(people)
        place, number = world.at[person]
        return Story(said, f"Where is {person}?", place, (number,), number)
    things = [thing for thing in world.things if len(world.been[thing]) >= task - 1]
    if not things:
        return None
    thing = world.one(things)
    stays = world.been[thing]
    if task == 2:
        last = stays[-1]
        facts, where = tuple(sorted(last.latest)), last.latest[1]
        return Story(said, f"Where is the {thing}?", last.place, facts, where)
    turn = int(world.rng.integers(1, len(stays)))
    before, after = stays[turn - 1 : turn + 1]
    if [stay.place for stay in stays].count(after.place) > 1:
        return None
    where = before.latest[1]
    return Story(
        said, f"Where was the {thing} before the {after.place}?", before.place,
        tuple(sorted((where, *after.arrival))), where,
    )  # fmt: skip


def stories(task: int, count: int, seed: int, without: Iterable[Story] = ()) -> list[Story]:
    """Draw stories of a task, none twice.

    Parameters
    ----------
    task : {1, 2, 3}
        How many facts an answer takes.
    count, seed : int
    without : iterable of Story
        None of these.
    """
    rng, known = np.random.default_rng([seed, task]), set(without)
    found: dict[tuple[str, str], Story] = {}
    while len(found) < count:
        world = World(rng, task)
        least, most = SIZES[task][2]
        length = rng.integers(least, most + 1)
        while len(world.sentences) < length:
            world.step()
        story = ask(world, task)
        if story and story not in known:
            found.setdefault((story.passage, story.question), story)
    return list(found.values())
