"""Messages of the contract as the original's JSON, and back: one table a message.

`kinds` says how a single value travels, `messages` holds the tables, `encoding` writes the
text and `times` the times, all as Go's encoding/json does.
"""
