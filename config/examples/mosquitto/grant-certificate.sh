#!/bin/sh
# A certificate for the own key of each device that gets its name by a claim (docs/fleet.md, "Provisioning"); no secret leaves the device:
#   linnet fleet serve … --grant-command '/etc/linnet/grant-certificate.sh /etc/mosquitto/certs/devices.crt /root/devices.key /etc/mosquitto/linnet.acl'
# Mosquitto, on its TLS listener: require_certificate true, use_identity_as_username true, and the authority in cafile. OpenSSL 3.
# It is told `grant NAME` with the public key on standard input and prints the certificate, whose name is the device's.
set -eu
authority=$1 key=$2 acl=$3 verb=$4 name=$5
[ "$verb" = grant ]

# A device may have chosen its own name: it must not come to the account of somebody else.
# A device that was set up by hand has the account linnet-NAME: its topics would be open to whoever is called NAME.
if grep -qxF -e "user $name" -e "user linnet-$name" -- "$acl"; then
  printf '%s\n' "grant-certificate.sh: $name is the account, or the device, of somebody else; a device of this name needs another" >&2
  exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/key.pem"
printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n' > "$work/extensions"
openssl x509 -new -force_pubkey "$work/key.pem" -subj "/CN=$name" -days 3650 \
  -CA "$authority" -CAkey "$key" -extfile "$work/extensions"
