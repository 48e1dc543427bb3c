"""The output of spinc: tables, trees, plans, live views, JSON and YAML."""
