"""What spinc prints: tables, trees, plans, live views, JSON and YAML."""
