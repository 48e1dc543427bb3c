"""Text functions: similar names, and shortening to a limit."""
