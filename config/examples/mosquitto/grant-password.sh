#!/bin/sh
# An account at Mosquitto for each device that gets its name by a claim (docs/fleet.md, "Provisioning"):
#   linnet fleet serve … --grant-command '/etc/linnet/grant-password.sh /etc/mosquitto/linnet.passwords /etc/mosquitto/linnet.acl /run/mosquitto/mosquitto.pid'
# It is told `grant NAME` and prints user and password. The user is called as the device, which is what the patterns of linnet.acl go by.
set -eu
passwords=$1 acl=$2 pid=$3 verb=$4 name=$5
[ "$verb" = grant ]
made=$passwords.devices
touch "$made"

# A device may have chosen its own name: it must not come to the account of somebody else.
# A device that was set up by hand has the account linnet-NAME: its topics would be open to whoever is called NAME.
# A name may begin with "-" and hold what a pattern or echo would take for its own.
accounts=$(cut -d: -f1 "$passwords")
has() { printf '%s\n' "$accounts" | grep -qxF -e "$1"; }
if grep -qxF -e "user $name" -e "user linnet-$name" -- "$acl" || has "linnet-$name" || { has "$name" && ! grep -qxF -e "$name" -- "$made"; }; then
  printf '%s\n' "grant-password.sh: $name is the account, or the device, of somebody else; a device of this name needs another" >&2
  exit 1
fi
grep -qxF -e "$name" -- "$made" || printf '%s\n' "$name" >> "$made"

password=$(head -c 24 /dev/urandom | base64)
# What follows the file is no option any more; it knows no "--".
mosquitto_passwd -b "$passwords" "$name" "$password" >&2
# Mosquitto reads the file again.
kill -HUP "$(cat "$pid")"
printf '%s\n' "username: $name" "password: $password"
