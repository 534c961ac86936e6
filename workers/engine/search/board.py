"""All that is known of the candidates: what an earlier attempt found, and what this one adds."""

from collections.abc import Iterator

from whetstone.contract.jobs import Budget
from whetstone.contract.passes import Pass
from whetstone.contract.reports import Candidate
from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target
from whetstone.contract.trials import Mark, Proposal, Score, Trial
from workers.engine.measure.verdict import MEGABYTE, allowed_drop
from workers.engine.report.wording import recipe as in_words
from workers.engine.search.front import best, front, nearest_miss, reason, seen, value

Recipe = tuple[Pass, ...]
SAFE_SHARE = 0.5


class Board:
    """Every trial in order."""

    def __init__(self, budget: Budget, targets: tuple[Target, ...], tried: tuple[Trial, ...] = ()) -> None:
        self.budget = budget
        self.targets = targets
        self._trials = {trial.proposal: trial for trial in tried}

    def __contains__(self, proposal: Proposal) -> bool:
        return proposal in self._trials

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def crashed(self) -> int:
        return sum(trial.crashed for trial in self._trials.values())

    def add(self, trial: Trial) -> None:
        self._trials[trial.proposal] = trial

    def trial(self, recipe: Recipe) -> Trial | None:
        return self._trials.get(Proposal(recipe=recipe))

    def scores(self, target: Target) -> dict[Proposal, Score]:
        """Of every candidate that has one on this target."""
        return {proposal: mark.score for proposal, mark in self._marks(target).items() if mark.score}

    def _marks(self, target: Target) -> dict[Proposal, Mark]:
        found = ((trial.proposal, mark) for trial in self._trials.values() for mark in trial.marks)
        return {proposal: mark for proposal, mark in found if mark.target is target}

    def best(self, target: Target) -> Proposal | None:
        """None where nothing serves the budget better than the original."""
        return best(self.scores(target), self.budget)

    def safe(self, target: Target) -> Proposal | None:
        """The best of those that lost at most half of what they may: of those that keep to it with confidence, where
        there are such. None where none is better than the original.
        """
        calm = {key: score for key, score in self.scores(target).items() if score.lost <= SAFE_SHARE * score.allowed}
        sure = {key: score for key, score in calm.items() if score.at_most is None or score.at_most <= score.allowed}
        return best(sure, self.budget) or best(calm, self.budget)

    def settings(self, target: Target) -> RuntimeSettings:
        """Those of the best so far."""
        proposal = self.best(target)
        return AS_USUAL if proposal is None else self._marks(target)[proposal].settings

    def seen(self, recipe: Recipe) -> list[Score]:
        """What a recipe got, on the targets it could be tried on."""
        trial = self.trial(recipe)
        return [mark.score for mark in trial.marks if mark.score] if trial else []

    def lossy(self, recipe: Recipe) -> bool:
        """Whether a recipe that was tried failed everywhere, or lost too much on a target that runs it."""
        scores = self.seen(recipe)
        if not scores:
            return self.trial(recipe) is not None
        return any(score.lost > score.allowed for score in scores)

    def promise(self, recipe: Recipe) -> float:
        """Times as good as the original by the objective on the target that it helps most, whatever it lost; 0 where it
        could not be tried.
        """
        return max((value(score, self.budget.objective) for score in self.seen(recipe)), default=0.0)

    def allowed(self) -> float:
        """What may be lost: as the trials say, which know the original's accuracy."""
        found = (score.allowed for target in self.targets for score in self.scores(target).values())
        return min(found, default=allowed_drop(self.budget, None))

    def misses(self) -> Iterator[str]:
        """For each target where no candidate keeps every limit: which came nearest."""
        for target in self.targets:
            scores = self.scores(target)
            nearest = nearest_miss(scores, self.budget)
            if nearest is not None:
                score = scores[nearest]
                has = f"{score.latency_ms:.3g} ms, {score.size / MEGABYTE:.3g} MB, {seen(score)}"
                yield f"On {target} no candidate keeps every limit; {in_words(nearest.recipe)} comes nearest: {has}."

    def candidates(self, chosen: dict[Target, Proposal | None]) -> Iterator[Candidate]:
        """One sentence for each candidate on each target: why it was chosen, kept or dropped."""
        for target in self.targets:
            scores, marks = self.scores(target), self._marks(target)
            on_front = dict(zip(scores, front(list(scores.values())), strict=True))
            for proposal, trial in self._trials.items():
                if not trial.marks:
                    yield _untried(trial, Mark(target=target, settings=proposal.settings or AS_USUAL))
                elif proposal in scores:
                    is_chosen = chosen[target] == proposal
                    yield self._scored(trial, marks[proposal], scores[proposal], is_chosen, on_front[proposal])
                elif proposal in marks:
                    yield _untried(trial, marks[proposal])

    def _scored(self, trial: Trial, mark: Mark, score: Score, is_chosen: bool, on_front: bool) -> Candidate:  # noqa: FBT001 - facts of the candidate
        return Candidate(
            recipe=trial.proposal.recipe,
            target=mark.target,
            settings=mark.settings,
            lost=score.lost,
            speedup=score.speedup,
            size_ratio=score.size_ratio,
            memory_ratio=score.memory_ratio,
            latency_ms=score.latency_ms,
            brief=not score.full,
            front=on_front,
            chosen=is_chosen,
            because=reason(score, self.budget, chosen=is_chosen, on_front=on_front),
        )


def _untried(trial: Trial, mark: Mark) -> Candidate:
    why = f"Crashed, and not tried again: {trial.failed}" if trial.crashed else None
    return Candidate(
        recipe=trial.proposal.recipe,
        target=mark.target,
        settings=mark.settings,
        lost=None,
        speedup=None,
        size_ratio=None,
        front=False,
        chosen=False,
        because=why or f"Could not be tried: {mark.failed or trial.failed}",
    )
