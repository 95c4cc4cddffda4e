"""A question to guess before the experiment, and the guess beside what came out."""

import html

import IPython.display
import ipywidgets

from actlib.progress import is_interactive


class Guess:
    """A question that a person answers before the experiment runs; `compare` then puts the guess beside the truth.

    `choices`: the words to choose from; without them a number from `low` to `high` in `unit`. Where the answer is
    already there when the guess is made, as under Run All Cells, the comparison follows at once. Headless the question
    is printed, and the answer alone.
    """

    def __init__(
        self, question: str, choices: list[str] | None = None, *, low: float = 0, high: float = 100, unit: str = "%",
        interactive: bool | None = None,
    ):  # fmt: skip
        self.question, self.unit, self.value = question, "" if choices else unit, None
        self.interactive = is_interactive() if interactive is None else interactive
        self._truth: str | float | None = None
        self._answer = ipywidgets.HTML()
        if choices:
            self.control = ipywidgets.RadioButtons(options=choices, value=None, layout={"width": "max-content"})
        else:
            how = {"readout_format": ".2f", "step": (high - low) / 100}
            if high - low >= 20:  # the number that is taken is the one that is shown
                how = {"readout_format": ".0f", "step": 1}
            self.control = ipywidgets.FloatSlider((low + high) / 2, min=low, max=high, layout={"width": "420px"}, **how)
        self.button = ipywidgets.Button(description="That is my guess", button_style="primary")
        self.text = ipywidgets.HTML()
        asked = ipywidgets.HTML(f"<b>{html.escape(question)}</b>")
        row = [self.control] if choices else [self.control, ipywidgets.HTML(html.escape(unit))]
        self.widget = ipywidgets.VBox([asked, ipywidgets.HBox([*row, self.button]), self.text])
        for name in ("control", "button", "text"):
            getattr(self, name).add_class(f"actlib-guess-{name}")
        self._answer.add_class("actlib-guess-answer")
        self.button.on_click(lambda button: self.take(self.control.value))
        if self.interactive:
            IPython.display.display(self.widget)
        else:
            print(question)

    def take(self, value: str | float | None) -> None:
        """Take the guess, as the button does; None (nothing chosen yet) is asked for again."""
        self.value = value
        self.text.value = "choose one first" if value is None else f"your guess: {html.escape(self._in_words(value))}"
        self._answer.value = html.escape(self._sentence())

    def compare(self, truth: str | float) -> None:
        """Show what came out beside the guess; the sentence follows a guess that is made later."""
        self._truth = truth
        self._answer.value = html.escape(self._sentence())
        if self.interactive:
            IPython.display.display(self._answer)
        else:
            print(self._sentence())

    def _sentence(self) -> str:
        if self._truth is None:
            return ""
        came = f"{self.question} {self._in_words(self._truth)}"
        if self.value is None:
            return came + (" (no guess was made: take one above)" if self.interactive else "")
        return f"{came}. You guessed {self._in_words(self.value)}."

    def _in_words(self, value: str | float) -> str:
        return value if isinstance(value, str) else f"{value:.3g} {self.unit}".strip()
