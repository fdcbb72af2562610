//! What a request means: one pipeline per task, on engine sessions. Knows nothing of transports or threads.
