"""Watch: events of requests, in order, from runners and the database to subscribers.

The path of an event:

1. `runner_feeds` receives it from the stream of a runner and calls `FeedListener.on_events`.
2. `change_poller` reads changed requests from the database after a notification.
3. `sequencer` puts both in one order and fills gaps from the journal.
4. `registry` records which subscribers receive the event.
5. `EventSequencer._publish` puts it into their queues.
6. `subscriber_queue` holds it until the subscriber's stream takes it.
7. `id_subscription` or `filter_subscription` encodes it as a message of that stream.
8. `subscriptions` yields the message to the Watch RPC.

`hub` starts a `session` for the first subscriber and stops it after the last; the session connects
subscribers to the parts above. `cursor_replay` replays the events after a subscriber's
cursor: one `replay_round` serves many subscribers, with a `replay_plan` for each cursor.
"""
