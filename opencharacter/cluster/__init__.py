"""The cluster a run goes to: its specification, the checks of a run against it, and what each step's pod gets."""
