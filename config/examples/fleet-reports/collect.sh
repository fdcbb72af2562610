#!/bin/sh
# Keeps every device's reports in SQLite: a bridge between Mosquitto and a database, in the smallest form that works.
# Needs mosquitto_sub and sqlite3 (with JSON, 3.38 or newer).
#
#   ./collect.sh reports.db -h broker.local -u operator -P secret     # runs until it is stopped; options are mosquitto_sub's
set -eu

database=$1
shift

sqlite3 "$database" >/dev/null <<'SQL'
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS reports (
    seen_secs INTEGER NOT NULL DEFAULT (unixepoch()),
    device TEXT NOT NULL,
    instance TEXT NOT NULL,
    generation INTEGER NOT NULL,
    state TEXT NOT NULL,
    report TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS newest ON reports (device, instance, seen_secs);
SQL

# %p is the payload; a report is one line of JSON. What is no report of a device is passed over.
mosquitto_sub "$@" -q 1 -i "linnet-reports-$$" -t 'linnet/+/config/reported' -F '%p' | while IFS= read -r report; do
    # A quote is doubled, as SQL has it; nothing else ends a string there.
    quoted=$(printf '%s' "$report" | sed "s/'/''/g")
    sqlite3 -cmd '.timeout 5000' "$database" "
        INSERT INTO reports (device, instance, generation, state, report)
        SELECT j ->> 'device', j ->> 'instance', j ->> 'generation', j ->> 'state', j
        FROM (SELECT json('$quoted') AS j WHERE json_valid('$quoted'))
        WHERE j ->> 'device' IS NOT NULL AND j ->> 'instance' IS NOT NULL AND j ->> 'state' IS NOT NULL
          AND typeof(j ->> 'generation') = 'integer';" ||
        echo "collect.sh: a report was not kept" >&2
done
