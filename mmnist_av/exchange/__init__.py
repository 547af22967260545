"""Export and import of datasets in the formats of other tools, and their cards."""
