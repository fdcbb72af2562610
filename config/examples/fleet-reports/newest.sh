#!/bin/sh
# The newest report of every device, one JSON object on each line:
#
#   ./newest.sh reports.db | linnet fleet status --dir home --reports -
set -eu
sqlite3 -readonly "$1" "
    SELECT report FROM reports AS r
    WHERE rowid = (SELECT rowid FROM reports WHERE device = r.device AND instance = r.instance
                   ORDER BY seen_secs DESC, rowid DESC LIMIT 1)
    ORDER BY seen_secs, rowid;"
