"""Text: the closest name, and shortening within a bound."""
