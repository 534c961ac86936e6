"""What proposals depend on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from whetstone.contract.passes import Simplify
from whetstone.contract.presets import GENERAL, Preset
from whetstone.contract.quantization import Quantize
from workers.engine.graph.graph import Graph
from workers.engine.search.board import Board, Recipe
from workers.engine.search.families import families_of, precedence
from workers.engine.search.learned import Lessons

START: Recipe = (Simplify(),)

Order = Callable[[Iterable[Recipe]], list[Recipe]]


@dataclass(frozen=True)
class Known:
    """What proposals depend on.

    `graph` gives what a recipe makes of the model; `cores` are those that may be used, one where the measurement says
    how many threads there are; `lessons` None where nothing can be learned; `order` puts first what did well on the
    tenant's earlier models, and where they say nothing the `preset` does.
    """

    graph: Callable[[Recipe], Graph]
    board: Board
    has_data: bool
    cores: int = 1
    lessons: Lessons | None = None
    order: Order = list
    preset: Preset = GENERAL

    def choose(self, recipes: Iterable[Recipe]) -> list[Recipe]:
        """Those that the preset does not leave out, in the order to try them in."""
        left = [recipe for recipe in recipes if not families_of(recipe) & {*self.preset.without}]
        return self.order(sorted(left, key=lambda recipe: precedence(recipe, self.preset)))

    @property
    def start(self) -> Recipe:
        """What every recipe begins with: nothing, where the graph was found not to survive being simplified."""
        failed = self.board.trial(START) is not None and not self.board.seen(START)
        return () if failed else START

    @property
    def begun(self) -> Graph:
        """The graph that every recipe changes, with the names that its layers have there."""
        return self.graph(self.start)

    def gains(self, recipe: Recipe) -> bool:
        """Whether it promises more than the graph that nothing was done to."""
        return self.board.promise(recipe) > (self.board.promise(self.start) or 1.0)

    def static(self, **told: object) -> Recipe:
        """int8 with ranges from the calibrator of the preset, unless told otherwise."""
        return *self.start, Quantize.model_validate({"calibrator": self.preset.calibrator, **told})
