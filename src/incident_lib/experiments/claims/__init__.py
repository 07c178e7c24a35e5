"""The claims of the fix plan, tested on scratch databases: each strategy to change the index, each claim."""
