-- Nothing: keeps the number of a migration that another change adds. That file replaces this one.
SELECT 1;
