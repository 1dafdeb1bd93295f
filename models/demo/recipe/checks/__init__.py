"""Whether the committed files are what the recipe makes, and whether the recipe still runs."""
