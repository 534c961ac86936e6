"""All that is known of the candidates: what an earlier attempt found, and what this one adds."""

from collections.abc import Iterator

from whetstone.contract.jobs import Budget
from whetstone.contract.reports import Candidate
from whetstone.contract.targets import Target
from whetstone.contract.trials import Mark, Proposal, Score, Trial
from workers.engine.search.front import best, front, reason


class Board:
    """Every trial in order."""

    def __init__(self, budget: Budget, tried: tuple[Trial, ...]) -> None:
        self._budget = budget
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

    def trial(self, proposal: Proposal) -> Trial | None:
        return self._trials.get(proposal)

    def scores(self, target: Target) -> dict[Proposal, Score]:
        """Of every candidate that has one on this target."""
        marks = ((trial.proposal, mark) for trial in self._trials.values() for mark in trial.marks)
        return {proposal: mark.score for proposal, mark in marks if mark.target is target and mark.score}

    def best(self, target: Target) -> Proposal | None:
        """None where nothing serves the budget better than the original."""
        scores = self.scores(target)
        index = best(list(scores.values()), self._budget)
        return None if index is None else list(scores)[index]

    def candidates(self, targets: tuple[Target, ...], chosen: dict[Target, Proposal | None]) -> Iterator[Candidate]:
        """One sentence for each candidate on each target: why it was chosen, kept or dropped."""
        for target in targets:
            scores = self.scores(target)
            on_front = dict(zip(scores, front(list(scores.values())), strict=True))
            for trial in self._trials.values():
                proposal = trial.proposal
                mark = next((mark for mark in trial.marks if mark.target is target), Mark(target=target))
                is_chosen, kept = chosen[target] == proposal, on_front.get(proposal, False)
                yield self._candidate(trial, mark, is_chosen=is_chosen, on_front=kept)

    def _candidate(self, trial: Trial, mark: Mark, *, is_chosen: bool, on_front: bool) -> Candidate:
        score = mark.score
        return Candidate(
            recipe=trial.proposal.recipe,
            target=mark.target,
            lost=score and score.lost,
            speedup=score and score.speedup,
            size_ratio=score and score.size_ratio,
            front=on_front,
            chosen=is_chosen,
            because=reason(score, self._budget, chosen=is_chosen, on_front=on_front) if score else _why(trial, mark),
        )


def _why(trial: Trial, mark: Mark) -> str:
    """Why there is no score."""
    if trial.crashed:
        return f"Crashed, and not tried again: {trial.failed}"
    return f"Could not be tried: {mark.failed or trial.failed}"
